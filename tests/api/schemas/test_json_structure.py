"""Bounds on JSON text before it is parsed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.schemas.json_structure import MAX_STRING_BYTES, MAX_VALUES, MAX_VALUES_OF_A_BATCH, is_too_complex

ODD = '",[{\\\n' * 42 + '"\\\\'  # 255 characters that look like structure


def test_largest_valid_bodies_pass() -> None:
    event = {"user_id": ODD, "item_id": ODD, "timestamp": "2026-11-30T12:00:00.000001+00:00", "event_id": ODD}
    assert not is_too_complex(json.dumps({"events": [event] * 1000}).encode(), MAX_VALUES_OF_A_BATCH)
    assert not is_too_complex(json.dumps({"history": [ODD] * 1000, "k": 10, "exclude_seen": True}).encode())
    assert not is_too_complex(json.dumps({"history": ["日" * 256] * 1000}).encode())
    assert not is_too_complex(b'{"user_id": "u", "item_id": "i"}' + b" " * 4_000_000)


@pytest.mark.parametrize(
    "text",
    [
        b"{" + b",".join(b'"f%d":1' % i for i in range(MAX_VALUES + 2)) + b"}",
        b"[" * (MAX_VALUES + 2),
        b"[" + b"1," * (MAX_VALUES + 2),
        b'"' * 4_000_000,
        b'{"a":"' + b"\\" * 4_000_000,
        b'{"a":"' + b"a" * (MAX_STRING_BYTES + 1) + b'"}',
        b'{"timestamp":' + b"9" * 4_000_000 + b"}",
    ],
    ids=lambda text: repr(text[:12]),
)
def test_expensive_text_is_refused(text: bytes) -> None:
    assert is_too_complex(text)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(0, 99), st.text('a",[{\\', max_size=9)),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text('a",[{\\', max_size=9), inner)),
)


def count(value: Any) -> int:
    """Count opened containers, and the commas in them."""
    if isinstance(value, dict | list):
        entries = list(value.values()) if isinstance(value, dict) else value
        return 1 + max(0, len(entries) - 1) + sum(map(count, entries))
    return 0


@given(JSON)
def test_count_ignores_strings_and_escapes(value: Any) -> None:
    text = json.dumps(value).encode() + b" " * 3000
    assert not is_too_complex(text, max(count(value), 1))
    if count(value) > 1:
        assert is_too_complex(text, count(value) - 1)
