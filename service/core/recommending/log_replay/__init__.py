"""Replay of one user's log, and the items that its events exclude."""
