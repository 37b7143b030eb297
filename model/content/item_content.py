"""Content of an item: what its vector is computed from."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

BOOL, NUMBER, STRING, STRINGS, TIME = "bool", "number", "string", "strings", "time"


@dataclass(frozen=True, slots=True)
class ItemContent:
    """Content of one item, as the catalogue has it; everything is optional.

    Attributes:
        title: its title.
        categories: its categories.
        attributes: values by name: bool, number, string, strings or time; None counts as absent.
        vector: the shop's own vector of the item.
    """

    title: str | None = None
    categories: Sequence[str] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    vector: NDArray[np.float32] | None = None


def kind_of(value: object) -> str | None:
    """Return the kind of an attribute's value; None for no value."""
    if isinstance(value, bool):
        return BOOL
    if isinstance(value, int | float):
        return NUMBER if math.isfinite(value) else None
    if isinstance(value, str):
        return STRING if value else None
    if isinstance(value, datetime):
        return TIME
    return STRINGS if isinstance(value, list | tuple | set | frozenset) else None


def as_number(value: float | datetime) -> float:
    """Return a number, or a time as Unix time.

    A time without an offset is UTC.
    """
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    return float(value)


def normalize(text: str) -> str:
    """Return the form in which texts are compared: NFC."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)
