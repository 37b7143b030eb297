"""Bounds on JSON text before it is parsed."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.schemas import json_structure
from service.api.schemas.json_structure import (
    MAX_STRING_BYTES,
    MAX_VALUES,
    MAX_VALUES_OF_A_BATCH,
    is_too_complex,
    parse,
    without_padding,
)

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


@given(JSON, st.integers(1, 9))
def test_slices_do_not_change_what_is_counted(value: Any, size: int) -> None:
    text = json.dumps(value).encode() + b" " * 3000
    most = max(count(value), 1)
    with patch.object(json_structure, "SLICE_BYTES", size):
        assert not is_too_complex(text, most)
        assert count(value) <= 1 or is_too_complex(text, count(value) - 1)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_long_strings_and_escapes_are_found_across_slices(size: int) -> None:
    with patch.object(json_structure, "SLICE_BYTES", size * 64):
        for length, refused in ((MAX_STRING_BYTES, False), (MAX_STRING_BYTES + 1, True)):
            assert is_too_complex(b'{"a":"\\\\' + b"a" * length + b'"}') is refused
        assert not is_too_complex(b'["' + b'\\"' * 2000 + b'", "' + b"\\\\" * 2001 + b'"]', 2)


def test_whitespace_between_values_is_bounded_and_around_them_is_not() -> None:
    assert is_too_complex(b"[" + b" " * 4_000_000 + b"1]")
    padded = b" \n" * 1_000_000 + b"[1]" + b"\t " * 1_000_000
    assert not is_too_complex(padded)
    assert without_padding(padded) == b"[1]"
    assert without_padding(b" " * 200_000) == b""


@given(JSON)
def test_sliced_parser_reads_what_the_library_reads(value: Any) -> None:
    with patch.object(json_structure, "_COMPILED_PARSER_BYTES", 0):
        assert parse(json.dumps(value).encode()) == value
        assert parse(b"\xef\xbb\xbf" + json.dumps(value).encode()) == value


@pytest.mark.parametrize("text", [b"", b"{", b'{"a" 1}', b"[1,]", b'"\\u12"', b"[1] 2", b"\xff"])
def test_sliced_parser_refuses_what_the_library_refuses(text: bytes) -> None:
    with patch.object(json_structure, "_COMPILED_PARSER_BYTES", -1), pytest.raises(ValueError) as sliced:
        parse(text)
    with pytest.raises(ValueError) as whole:
        json.loads(text)
    assert (type(sliced.value), str(sliced.value)) == (type(whole.value), str(whole.value))
