"""Benchmarks of the backfill."""
