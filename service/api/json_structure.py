"""Cheap bounds on JSON text, checked before it is parsed.

A parser and a validator in compiled code do not let the event loop run. Four MiB of small unknown fields held it for
1.5 s. Counting bytes first costs a few milliseconds at most.
"""

from __future__ import annotations

MAX_VALUES = 2_048  # a list of 1,000 ids and a few fields
MAX_VALUES_OF_A_BATCH = 6_144  # 1,000 events with four fields each have some 5,000
MAX_STRING_BYTES = 64 * 1024
MAX_ESCAPES = 800_000  # as many as 4 MiB hold, if every character is escaped as \\u0000
_CHECKED_BYTES = MAX_VALUES
_BYTES_PER_VALUE = 64  # of numbers, names of constants and punctuation
_WHITESPACE = b" \t\r\n"


def is_too_complex(text: bytes, max_values: int = MAX_VALUES) -> bool:
    """Return whether the JSON has too many values, or too long ones."""
    if len(text) < _CHECKED_BYTES:
        return False
    if b"\\" in text:
        if text.count(b"\\") > MAX_ESCAPES:
            return True
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    if text.count(b'"') > 4 * max_values:  # each value has at most two strings, its name and itself
        return True
    parts = text.split(b'"')
    if len(max(parts[1::2], key=len, default=b"")) > MAX_STRING_BYTES:
        return True
    outside = b"".join(parts[::2]).translate(None, _WHITESPACE)
    values = outside.count(b",") + outside.count(b"[") + outside.count(b"{")
    return values > max_values or len(outside) > _BYTES_PER_VALUE * max_values
