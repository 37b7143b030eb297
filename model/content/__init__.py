"""Vectors of items from their content, with NumPy only."""
