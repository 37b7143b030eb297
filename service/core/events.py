"""Events and the values that cross the store's boundary."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import NamedTuple

from service.core.event_fields import DEFAULT_TYPE

# An event without an `event_id` is addressed by one made of its sequence, so clients may not choose ids of this form.
RESERVED_EVENT_ID = re.compile(r"seq-[0-9]+")

PLAIN = ("", None, "", "")  # type, value, recommendation id and credit of most events

DAY_SECONDS = 86_400  # unit of retention by age


class NewEvent(NamedTuple):
    """An event to append; `timestamp` in Unix seconds.

    `fingerprint` identifies the payload as the client sent it. The same `event_id` with the same fingerprint is a
    retry; with another one it is a conflict. `type` is "" for DEFAULT_TYPE. `recommendation_id` is "" if the client
    sent none, else as it was sent: nothing has verified it. `credit` is what
    the event adds to the counters of attribution (core/attribution/credits.py).
    """

    item_id: str
    timestamp: float
    event_id: str | None
    fingerprint: str
    type: str = ""
    value: float | None = None
    recommendation_id: str = ""
    credit: str = ""

    @classmethod
    def create(
        cls,
        item_id: str,
        timestamp: float | None,
        event_id: str | None,
        now: float,
        type: str = "",
        value: float | None = None,
        recommendation_id: str = "",
    ) -> NewEvent:
        """Create an event; without a `timestamp` its time is `now`.

        The type DEFAULT_TYPE equals none, and -0.0 equals 0.0.
        """
        kind = "" if type == DEFAULT_TYPE else type
        payload = f"{item_id}\0{timestamp!r}"
        if kind or value is not None or recommendation_id:  # a plain event's is that of releases without types
            value = None if value is None else float(value) + 0.0
            payload += f"\0{kind}\0{value!r}\0{recommendation_id}"
        fingerprint = hashlib.blake2b(payload.encode(), digest_size=8).hexdigest()
        at = now if timestamp is None else timestamp
        return cls(item_id, at, event_id, fingerprint, kind, value, recommendation_id)


class Event(NamedTuple):
    """An appended event.

    `sequence` counts a user's events from 1 in order of arrival, and is never reused. `type`, `value` and
    `recommendation_id` are as in `NewEvent`. A tuple, because a backfill creates millions of events.
    """

    sequence: int
    item_id: str
    timestamp: float
    event_id: str
    type: str = ""
    value: float | None = None
    recommendation_id: str = ""


class Appended(NamedTuple):
    """The event is at `sequence`; a `duplicate` was there before."""

    sequence: int
    duplicate: bool


class Conflict(NamedTuple):
    """The `event_id` belongs to another event, at `sequence`."""

    sequence: int


class AppendAndRead(NamedTuple):
    """Append a user's events, and read the log for a replay.

    `events` may be empty.

    `model_version` selects the snapshot to read. With None no snapshot is read, and all kept events are returned.
    """

    user_id: str
    model_version: str | None
    events: tuple[NewEvent, ...] = ()


@dataclass(slots=True)  # not frozen: that would triple the time of its creation, once in each request
class LogView:
    """A consistent view of one user's log, read atomically with the append.

    Nothing may change it.

    Attributes:
        generation: Token that changes whenever the log is edited or started again; "" for an unknown user.
        sequence: The newest sequence; 0 for an unknown user.
        trimmed: The newest sequence that retention has removed; 0 for none.
        snapshot: The encoded snapshot of the requested model, if any; see `snapshots.decode_snapshot`.
        pending: The events after the snapshot, or without one every kept event; oldest first.
        appended: One outcome for each event of the request, in order.
        newest: The store's id of the append of the newest event, or "". It differs if a failover undoes that append
            and another event gets the sequence.
        typed_from: No kept event before this sequence has a type; 0 if none has.
    """

    generation: str
    sequence: int
    trimmed: int
    snapshot: bytes | None
    pending: tuple[Event, ...]
    appended: tuple[Appended | Conflict, ...] = ()
    newest: str = field(default="", compare=False)
    typed_from: int = field(default=0, compare=False)


class SnapshotPut(NamedTuple):
    """A snapshot to store.

    Attributes:
        user_id: The user.
        generation: The log's generation when it was replayed.
        model_version: The model that computed the state.
        applied: The sequence of the newest replayed event.
        blob: The encoded snapshot.
        repair: Whether to replace a damaged snapshot, whatever its sequence.
        newest: The store's id of the append at `applied`; see `LogView`.
    """

    user_id: str
    generation: str
    model_version: str
    applied: int
    blob: bytes
    repair: bool = False
    newest: str = ""


@dataclass(frozen=True, slots=True)
class History:
    """A page of a user's kept events, oldest first.

    `sequence`, `kept` and `trimmed` are of the whole log; see `LogView`.
    """

    sequence: int
    kept: int
    trimmed: int
    events: tuple[Event, ...]


MERGES_KNOWN = 32  # merges into one user whose result is kept, so that a repeated call returns the first result


@dataclass(frozen=True, slots=True)
class Merged:
    """Result of merging a user into another.

    Attributes:
        moved: Events moved into the other user's log.
        duplicates: Events left out because the log has the same `event_id` with the same payload.
        conflicts: Events left out because the log has the same `event_id` with another payload.
        sequence: The newest sequence of the merged log.
        repeated: Whether the merge was done before; then the counts are those of the first time.
    """

    moved: int
    duplicates: int
    conflicts: int
    sequence: int
    repeated: bool = False
