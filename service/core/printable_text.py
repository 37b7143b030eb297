"""Text of a client, as messages may show it."""

from __future__ import annotations

_MAX_CHARACTERS = 64


def printable(text: str) -> str:
    """Escape and shorten a text from a client."""
    if not text.isprintable():
        text = text.encode("unicode_escape").decode("ascii")
    return text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]}…"
