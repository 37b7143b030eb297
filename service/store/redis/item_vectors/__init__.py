"""Vectors of new items on Redis."""
