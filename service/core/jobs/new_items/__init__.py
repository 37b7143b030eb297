"""Vectors of new items: computed from the catalogue, and followed."""
