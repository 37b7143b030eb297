"""Audits: snapshots and answers against a new replay of the log."""
