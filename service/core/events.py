"""What the event log holds and what crosses the store's boundary."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import NamedTuple

# An event without an id of its own is still addressable: its id is made of its sequence number. Clients may
# not choose ids of this form.
RESERVED_EVENT_ID = re.compile(r"seq-[0-9]+")

DAY_SECONDS = 86_400  # unit of retention by age


class NewEvent(NamedTuple):
    """An event to append. `timestamp` is in Unix seconds.

    `fingerprint` identifies the payload as the client sent it: the same `event_id` with the same fingerprint is
    a retry, with another one a conflict.
    """

    item_id: str
    timestamp: float
    event_id: str | None
    fingerprint: str

    @classmethod
    def create(cls, item_id: str, timestamp: float | None, event_id: str | None, now: float) -> NewEvent:
        """An event whose time is `timestamp`, or `now` where the client stated none."""
        payload = f"{item_id}\0{timestamp!r}"
        fingerprint = hashlib.blake2b(payload.encode(), digest_size=8).hexdigest()
        return cls(item_id, now if timestamp is None else timestamp, event_id, fingerprint)


class Event(NamedTuple):
    """A committed event. `sequence` counts a user's events from 1, in order of arrival, and is never reused.

    A tuple, for a rebuild makes millions of them.
    """

    sequence: int
    item_id: str
    timestamp: float
    event_id: str


class Appended(NamedTuple):
    """The event stands in the log at `sequence`; `duplicate` says that it already stood there."""

    sequence: int
    duplicate: bool


class Conflict(NamedTuple):
    """The event_id is taken by an event with another payload, at `sequence`; nothing was appended."""

    sequence: int


class AppendAndRead(NamedTuple):
    """One user's call at the store: append `events` (perhaps none), bring back what a fold needs.

    `model_version` names the memo that is wanted. With None no memo is read and all kept events come back.
    """

    user_id: str
    model_version: str | None
    events: tuple[NewEvent, ...] = ()


@dataclass(frozen=True, slots=True)
class LogView:
    """What a visit brought back, all of it from one atomic moment.

    generation  token that changes whenever the user's history is edited or begun anew; "" for an unknown user.
    sequence    the newest sequence given out; 0 for an unknown user.
    trimmed     the newest sequence that retention has removed; 0 if none.
    memo        bytes of the wanted model's memo, or None. Undecoded: see `memo.py`.
    pending     with a memo the events after the memo's cursor, otherwise every kept event; oldest first.
    appended    one outcome for each event of the visit, in its order.
    newest      the store's own name of the append that the newest event came by, or "": a failover may undo it, and
                then another gets its sequence.
    """

    generation: str
    sequence: int
    trimmed: int
    snapshot: bytes | None
    pending: tuple[Event, ...]
    appended: tuple[Appended | Conflict, ...] = ()
    newest: str = field(default="", compare=False)


class SnapshotPut(NamedTuple):
    """A memo to store: it folds the user's events up to `applied`, the `newest` of them, as of `generation`.

    `repair` replaces a stored memo that was found damaged, whatever its cursor says.
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
    """A page of a user's kept events, oldest first, and the counts of the whole log."""

    sequence: int
    kept: int
    trimmed: int
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class Merged:
    """What became of the events of a user that was merged into another.

    moved       events that came into the other's log.
    duplicates  events that stood there already: the same event_id with the same payload.
    conflicts   events left out because their event_id stood there with another payload.
    sequence    the newest sequence of the other's log after the merge.
    repeated    whether this merge was done before; then the counts are those of that time.
    """

    moved: int
    duplicates: int
    conflicts: int
    sequence: int
    repeated: bool = False
