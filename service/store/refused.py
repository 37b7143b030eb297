"""The one start-up fault of the store."""

from __future__ import annotations


class StoreRefused(Exception):
    """The store cannot be opened as configured. The message is one sentence that says what to do, without secrets."""
