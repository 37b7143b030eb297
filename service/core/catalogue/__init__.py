"""Catalogue: the items that may be shown, and filters over them."""
