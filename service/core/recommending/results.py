"""What the use cases answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from service.core.engine_requests import ScoredItem


class Answer(NamedTuple):
    """Scored items and what they were computed from: the fold of the events up to `sequence` by `model_version`."""

    model_version: str
    sequence: int
    cold: bool
    items: Sequence[ScoredItem]


class Recorded(NamedTuple):
    """An event is in the log. `answer` already reflects it.

    It is None where none was asked for, or where none could be computed: the event counts all the same.
    """

    sequence: int
    duplicate: bool
    known_item: bool
    answer: Answer | None
