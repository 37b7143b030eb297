"""Benchmark of a worker's start with a large catalogue."""
