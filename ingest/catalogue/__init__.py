"""The catalogue: tables of items in and out of a running service."""
