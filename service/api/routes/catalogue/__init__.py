"""Routes about the catalogue: items, attributes, filters."""
