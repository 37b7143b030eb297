"""Which events tell how good the model is: a share of them, drawn so that nobody can choose which."""

from __future__ import annotations

import hashlib

from service.core.events import Appended, Event, LogView
from service.core.ports import Engine

_SPACE = 2**64
_NOBODY: frozenset[int] = frozenset()
# Events of one turn that are judged. Each is a search of its own, and all turns of a batch wait for it.
MAX_EVALUATED = 8


class Sampling:
    """Draws `share` (0 to 1) of all events by a hash of user and sequence.

    It is the same event in every process and under every model, whatever assigns users to models.
    """

    def __init__(self, share: float) -> None:
        self._below = round(share * _SPACE)

    def draws(self, user_id: str, sequence: int) -> bool:
        """Whether this event is drawn."""
        digest = hashlib.blake2b(f"{sequence}:{user_id}".encode(), digest_size=8, person=b"accuracy").digest()
        return int.from_bytes(digest, "big") < self._below

    def of(self, user_id: str, view: LogView) -> frozenset[int]:
        """The sequences of those drawn among the events that the snapshot's visit itself appended.

        A duplicate was appended by an earlier visit, so every event has its one chance.
        """
        if not (self._below and view.appended):
            return _NOBODY
        return frozenset(
            outcome.sequence
            for outcome in view.appended
            if isinstance(outcome, Appended) and not outcome.duplicate and self.draws(user_id, outcome.sequence)
        )


def evaluated(engine: Engine, pending: tuple[Event, ...], sampled: frozenset[int]) -> tuple[int, ...]:
    """Indices of the drawn events that the engine can judge, those of items that it knows: the newest few of them."""
    if not sampled:
        return ()
    found = [
        index for index, event in enumerate(pending) if event.sequence in sampled and engine.knows(event.item_id)
    ]
    return tuple(found[-MAX_EVALUATED:])
