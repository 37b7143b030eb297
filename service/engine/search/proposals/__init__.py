"""Rows that an index proposes, and the best of them under filters."""
