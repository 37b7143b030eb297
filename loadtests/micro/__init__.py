"""Benchmarks of single components, without HTTP."""
