"""Send what was read to a running service."""
