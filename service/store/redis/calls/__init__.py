"""Conversion of what scripts return."""
