"""Results of the use cases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from service.core.engine_requests import ScoredItem
from service.core.recommending.eligibility import EVERYTHING, Eligible


class Answer(NamedTuple):
    """Scored items after the replay of the events up to `sequence`.

    `cold` says that the history holds no item that the model knows. `eligible` says which items could be answers.
    `k` is how many were asked for; fewer are all there are. It is 0 for ranked candidates. `recommendation_id` is ""
    unless ids are configured.
    """

    model_version: str
    sequence: int
    cold: bool
    items: Sequence[ScoredItem]
    eligible: Eligible = EVERYTHING
    k: int = 0
    recommendation_id: str = ""


class Recorded(NamedTuple):
    """A recorded event.

    `answer` reflects the event. It is None if none was asked for, or if the replay failed after the append.
    """

    sequence: int
    duplicate: bool
    known_item: bool
    answer: Answer | None
