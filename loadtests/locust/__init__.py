"""Locust scenarios that simulate users with think time."""
