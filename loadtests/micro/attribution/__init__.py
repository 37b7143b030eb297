"""Cost of attribution."""
