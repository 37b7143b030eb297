"""Sampling of the events that measure live accuracy."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from service.core.events import Appended, Event, LogView
from service.core.ports import Engine

_HASH_RANGE = 2**64
# Evaluated events of one engine request. Each costs a search, and all requests of the batch wait for it.
MAX_EVALUATED = 8


class EvaluationSampler:
    """Samples a fraction of events by hash of user and sequence.

    A client cannot choose which events are sampled, and every process samples the same ones under every model, so
    the sample does not depend on how users are assigned to models.
    """

    def __init__(self, rate: float) -> None:
        self._threshold = round(rate * _HASH_RANGE)

    def selects(self, user_id: str, sequence: int) -> bool:
        """Return whether the event is in the sample."""
        digest = hashlib.blake2b(f"{sequence}:{user_id}".encode(), digest_size=8, person=b"accuracy").digest()
        return int.from_bytes(digest, "big") < self._threshold

    def indices_to_evaluate(
        self, engine: Engine, user_id: str, view: LogView, events: Sequence[Event]
    ) -> tuple[int, ...]:
        """Return the indices of the events to evaluate.

        `events` are those of the view that are replayed. Those to evaluate are the newest sampled ones that were
        appended with `view`, whose item the engine knows and whose type is positive: a recommendation of an item that
        is disliked next was not good. Duplicates are left out: the request that appended the event has evaluated it.
        """
        if not self._threshold or not view.appended:
            return ()
        sampled = [
            outcome.sequence
            for outcome in view.appended
            if isinstance(outcome, Appended) and not outcome.duplicate and self.selects(user_id, outcome.sequence)
        ]
        if not sampled:
            return ()
        is_positive = engine.event_types.is_positive
        indices = [
            index
            for index, event in enumerate(events)
            if event.sequence in sampled and engine.knows(event.item_id) and is_positive(event.type)
        ]
        return tuple(indices[-MAX_EVALUATED:])
