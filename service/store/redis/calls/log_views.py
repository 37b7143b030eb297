"""Conversion of the reply of append_and_read.lua."""

from __future__ import annotations

from typing import Any

from service.core.errors import StoreUnavailable
from service.core.events import Appended, Conflict, LogView
from service.store.redis import layout

_DUPLICATE, _CONFLICT = 1, 2  # outcomes of the script


def log_view(reply: list[Any]) -> LogView | StoreUnavailable:
    """Convert the reply of append_and_read.lua."""
    generation, sequence, trimmed, snapshot, applied, entries, outcomes, *typed_from = reply
    try:
        pending, newest = layout.decode_events(entries, applied)
    except StoreUnavailable as error:
        return error
    return LogView(
        "" if generation is None else generation.decode(),
        sequence,
        trimmed,
        snapshot,
        pending,
        tuple(
            Conflict(first) if kind == _CONFLICT else Appended(first, kind == _DUPLICATE) for first, kind in outcomes
        ),
        newest,
        (typed_from[0] if typed_from else 0) or 0,
    )
