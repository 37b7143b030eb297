"""Merging users on Redis."""
