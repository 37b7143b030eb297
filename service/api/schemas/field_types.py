"""The types of single fields: ids, times, counts. Strict: nothing is coerced into a string or a number."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import unquote_to_bytes

from fastapi import Path
from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from service.core.events import RESERVED_EVENT_ID

_END_OF_9999 = 253_402_300_800.0  # 10000-01-01T00:00:00Z
_MILLISECONDS = 1000.0
NO_CONTROL_CHARACTERS = r"^[^\x00-\x1f\x7f-\x9f]*$"
VERSION_FORM = r"^[A-Za-z0-9][A-Za-z0-9._+:-]*$"
_LONGEST_DATE = 64


def _decode_segment(raw: object) -> object:
    """The id in a path segment, which arrives as it was sent: see `edge.py`."""
    if not isinstance(raw, str):
        return raw
    try:
        return unquote_to_bytes(raw.encode("latin-1")).decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("must be percent-encoded UTF-8") from None


def _not_reserved(event_id: str) -> str:
    if RESERVED_EVENT_ID.fullmatch(event_id):
        raise ValueError("must not have the form seq-<number>, which names events that came without an id")
    return event_id


def _seconds(value: object) -> float | None:
    """Unix seconds of an ISO 8601 string (UTC where it states no offset) or of a number."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("must be an ISO 8601 string or Unix seconds as a number")
    try:
        seconds = _from_iso(value) if isinstance(value, str) else float(value)
    except ValueError:
        raise ValueError("must be an ISO 8601 string or Unix seconds as a number") from None
    except OverflowError:  # an integer of hundreds of digits, or a date whose offset leads out of the calendar
        raise ValueError("must lie between 1970-01-01 and 9999-12-31") from None
    if not math.isfinite(seconds):
        raise ValueError("must be a finite number")
    if _END_OF_9999 <= seconds < _END_OF_9999 * _MILLISECONDS:
        raise ValueError("looks like milliseconds; send Unix seconds")
    if not 0 <= seconds < _END_OF_9999:
        raise ValueError("must lie between 1970-01-01 and 9999-12-31")
    return seconds + 0.0  # -0.0 becomes 0.0, so that both are one payload


def _from_iso(text: str) -> float:
    if len(text) > _LONGEST_DATE:
        raise ValueError
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


Identifier = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=NO_CONTROL_CHARACTERS)]
NewEventId = Annotated[Identifier, AfterValidator(_not_reserved)]
Seconds = Annotated[float | None, BeforeValidator(_seconds, json_schema_input_type=float | str | None)]
Count = Annotated[int, Field(ge=1, le=10_000)]
Version = Annotated[str, StringConstraints(max_length=128, pattern=VERSION_FORM)]

PathId = Annotated[
    Identifier,
    BeforeValidator(_decode_segment),
    Path(description="an id, percent-encoded: `/` in an id is sent as `%2F`"),
]
