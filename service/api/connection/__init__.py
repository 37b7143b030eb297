"""Framing, refusals and limits of HTTP connections."""
