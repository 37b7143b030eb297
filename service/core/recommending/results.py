"""Results of the use cases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from service.core.engine_requests import ScoredItem


class Answer(NamedTuple):
    """Scored items after the replay of the events up to `sequence`.

    `cold` says that the history holds no item that the model knows.
    """

    model_version: str
    sequence: int
    cold: bool
    items: Sequence[ScoredItem]


class Recorded(NamedTuple):
    """A recorded event.

    `answer` reflects the event. It is None if none was asked for, or if the replay failed after the append.
    """

    sequence: int
    duplicate: bool
    known_item: bool
    answer: Answer | None
