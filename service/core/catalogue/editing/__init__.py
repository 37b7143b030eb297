"""Changes of the catalogue: items, declared attributes, named filters."""
