"""Benchmark of top-10 search under filters."""
