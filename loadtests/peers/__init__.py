"""Comparison with two general-purpose model servers that serve the same network."""
