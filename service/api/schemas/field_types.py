"""Types of single request fields: ids, timestamps, counts.

Validation is strict: no value is coerced to a string or a number.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import unquote_to_bytes

from fastapi import Path
from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from service.core.event_fields import EVENT_TYPE, MAX_ID_CHARACTERS, MAX_VALUE, NO_CONTROL_CHARACTERS
from service.core.events import RESERVED_EVENT_ID

FILTER_NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$"
TYPE_PATTERN = f"^{EVENT_TYPE}$"
EXCLUDED_EVENTS = rf"^({EVENT_TYPE})(?::([1-9][0-9]{{0,4}})([mhdw]))?$"
VERSION_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._+:-]*$"
_YEAR_10000_SECONDS = 253_402_300_800.0  # 10000-01-01T00:00:00Z
_MILLISECONDS_PER_SECOND = 1000.0
_MAX_DATE_LENGTH = 64


def _decode_segment(raw: object) -> object:
    """Decode the id in a path segment.

    `middleware.telemetry` keeps the path percent-encoded, as the client sent it.
    """
    if not isinstance(raw, str):
        return raw
    try:
        return unquote_to_bytes(raw.encode("latin-1")).decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("must be percent-encoded UTF-8") from None


def _reject_reserved(event_id: str) -> str:
    if RESERVED_EVENT_ID.fullmatch(event_id):
        raise ValueError("must not have the form seq-<number>, which names events that were sent without an id")
    return event_id


def _parse_seconds(value: object) -> float | None:
    """Convert an ISO 8601 string or a number to Unix seconds.

    A string without an offset is UTC.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("must be an ISO 8601 string or Unix seconds as a number")
    try:
        seconds = _parse_iso(value) if isinstance(value, str) else float(value)
    except ValueError:
        raise ValueError("must be an ISO 8601 string or Unix seconds as a number") from None
    except OverflowError:  # an integer of hundreds of digits, or a date whose offset leaves the calendar
        raise ValueError("must be between 1970-01-01 and 9999-12-31") from None
    if not math.isfinite(seconds):
        raise ValueError("must be a finite number")
    if _YEAR_10000_SECONDS <= seconds < _YEAR_10000_SECONDS * _MILLISECONDS_PER_SECOND:
        raise ValueError("looks like milliseconds; send Unix seconds")
    if not 0 <= seconds < _YEAR_10000_SECONDS:
        raise ValueError("must be between 1970-01-01 and 9999-12-31")
    return seconds + 0.0  # -0.0 becomes 0.0: both must have the same fingerprint


def _parse_iso(text: str) -> float:
    if len(text) > _MAX_DATE_LENGTH:
        raise ValueError
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _parse_value(value: object) -> float | None:
    """Convert the value of an event; -0.0 becomes 0.0."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a number")
    if not -MAX_VALUE <= value <= MAX_VALUE:  # also refuses NaN
        raise ValueError("must be a finite number from -1e12 to 1e12")
    return float(value) + 0.0


Identifier = Annotated[
    str, StringConstraints(min_length=1, max_length=MAX_ID_CHARACTERS, pattern=NO_CONTROL_CHARACTERS)
]
NewEventId = Annotated[Identifier, AfterValidator(_reject_reserved)]
Seconds = Annotated[float | None, BeforeValidator(_parse_seconds, json_schema_input_type=float | str | None)]
EventType = Annotated[str, StringConstraints(pattern=TYPE_PATTERN)]
EventValue = Annotated[
    float | None,
    BeforeValidator(_parse_value, json_schema_input_type=Annotated[float, Field(ge=-MAX_VALUE, le=MAX_VALUE)] | None),
]
RecommendationId = Annotated[str, StringConstraints(min_length=1, max_length=512, pattern=NO_CONTROL_CHARACTERS)]
ExcludedEvents = Annotated[str, StringConstraints(pattern=EXCLUDED_EVENTS)]
Count = Annotated[int, Field(ge=1, le=10_000)]
Version = Annotated[str, StringConstraints(max_length=128, pattern=VERSION_PATTERN)]

PathId = Annotated[
    Identifier,
    BeforeValidator(_decode_segment),
    Path(description="Id, percent-encoded as UTF-8. Send a `/` inside an id as `%2F`."),
]
