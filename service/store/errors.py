"""The start-up faults of the store."""

from __future__ import annotations


class StoreRefusedError(Exception):
    """The store cannot be opened as configured. The message is one sentence that says what to do, without secrets."""


class StoreUnreachableError(StoreRefusedError):
    """Nothing says that the configuration is wrong: the store may answer later."""
