"""Use cases and their ports. Pure Python: no web framework, no database, no arrays."""
