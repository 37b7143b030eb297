"""Text of a client in messages."""

from __future__ import annotations

import pytest

from service.core.printable_text import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [("price", "price"), ("größe", "größe"), ("a\nb", "a\\nb"), ("x" * 64, "x" * 64), ("x" * 65, "x" * 64 + "…")],
)
def test_text_is_escaped_and_shortened(text: str, shown: str) -> None:
    assert printable(text) == shown
