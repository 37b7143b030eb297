"""Logged events, stored items, and the interface of an event log."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple, Protocol

# Order of the events of one shard: the id of a SQLite row, or both parts of a Redis stream id; () is before all.
Position = tuple[int, ...]

# What an event with a verified recommendation id counted: service/core/attribution/credits.py writes it.
_CREDIT = re.compile(r"\S+ p:[0-9]+:(\S+):([0-9]+)(?: .*)?")


class LoggedEvent(NamedTuple):
    """One event of the log.

    An event without a client's id has the `event_id` `seq-N`, which is also the service's name for it.

    `timestamp` is what the client said, and may be any number. `arrived` is when the event came by the clock of the
    service or of Redis. A user merge in Redis gives the events that it moves the time of the merge. Both are Unix
    seconds. `type` is None for a view; `recommendation_id` is as the client sent it, and nothing has verified it.
    `answer_version` and `answer_position` are model version and position of the answer, if the service has verified
    the id and has counted the event.
    """

    user_id: str
    item_id: str
    timestamp: float
    sequence: int
    event_id: str
    arrived: float
    type: str | None = None
    value: float | None = None
    recommendation_id: str | None = None
    answer_version: str | None = None
    answer_position: int | None = None


def answer_of(credit: str | None) -> tuple[str | None, int | None]:
    """Return model version and position of the answer that a credit names."""
    found = _CREDIT.fullmatch(credit or "")
    return (found[1], int(found[2])) if found else (None, None)


class ItemRecord(NamedTuple):
    """Record of an item in the catalogue beside the log."""

    item_id: str
    record: bytes


class EventLog(Protocol):
    """An open event log.

    Attributes:
        name: URL of the log without credentials.
        shards: number of shards. Positions of different shards cannot be compared.
    """

    name: str
    shards: int

    def deletions(self, shard: int) -> int:
        """Return how many deletions and user merges have changed the shard."""
        ...

    def newest(self, shard: int) -> Position:
        """Return the position of the last event appended, removed or not."""
        ...

    def read(self, shard: int, after: Position, limit: int) -> tuple[list[LoggedEvent], Position]:
        """Return the next events after a position, and the last one's position.

        At most `limit` events, in order.
        """
        ...

    def items(self) -> Iterator[ItemRecord]:
        """Yield the items of the catalogue, deleted ones included.

        An item that changes meanwhile can come twice, and its newest record last.
        """
        ...
