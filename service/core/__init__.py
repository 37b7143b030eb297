"""Use cases and their ports, without web framework, database or arrays."""
