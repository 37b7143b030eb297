"""Types of attributes, and their values."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum

RESERVED_NAMES = ("item_id", "title", "categories", "available")

AttributeValue = bool | float | str | tuple[str, ...] | datetime

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class AttributeType(StrEnum):
    """Type of an attribute, by its name in requests.

    Values in Python: bool, finite float, str, sorted tuple of distinct strings, datetime in UTC.
    """

    BOOL = "bool"
    NUMBER = "number"
    STRING = "string"
    STRINGS = "strings"
    TIME = "time"


_PYTHON_TYPES: Mapping[type, AttributeType] = {
    bool: AttributeType.BOOL,
    float: AttributeType.NUMBER,
    str: AttributeType.STRING,
    tuple: AttributeType.STRINGS,
    datetime: AttributeType.TIME,
}


def type_of(value: AttributeValue) -> AttributeType:
    """Return the type of a value."""
    return _PYTHON_TYPES[type(value)]


def normalize(text: str) -> str:
    """Return the form in which strings are compared: NFC."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def declared_type(text: str) -> AttributeType:
    """Read a stored declaration; see `catalogue_store.Definitions`."""
    return AttributeType(text)


def parse_time(text: str) -> datetime:
    """Read an ISO 8601 time with an offset; raises `ValueError`."""
    try:
        time = datetime.fromisoformat(text)
        if time.tzinfo is not None:
            return time.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueError("is not a time like 2026-12-24T18:00:00Z, with an offset or Z") from None


def to_microseconds(time: datetime) -> int:
    """Return the microseconds since 1970, UTC."""
    return (time - _EPOCH) // _MICROSECOND


def from_microseconds(microseconds: int) -> datetime:
    """Return the time that `to_microseconds` was given."""
    return _EPOCH + timedelta(microseconds=microseconds)
