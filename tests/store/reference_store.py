"""The store's contract in plain Python, for comparison with the real stores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count

from service.core.events import (
    AppendAndRead,
    Appended,
    Conflict,
    Event,
    History,
    LogView,
    Merged,
    NewEvent,
    SnapshotPut,
)
from service.core.new_items.vector_mark import is_better


@dataclass
class _User:
    generation: str
    sequence: int = 0
    trimmed: int = 0
    log: list[tuple[int, NewEvent]] = field(default_factory=list)
    snapshots: dict[str, tuple[int, bytes]] = field(default_factory=dict)  # in order of the first write
    merged: dict[str, Merged] = field(default_factory=dict)
    ages: dict[int, float] = field(default_factory=dict)  # seconds since arrival, by sequence; 0 if not listed
    appends: dict[int, str] = field(default_factory=dict)  # name of each event's append, by sequence

    def copy(self) -> _User:
        """A copy with collections of its own; their elements are immutable."""
        return replace(
            self,
            log=list(self.log),
            snapshots=dict(self.snapshots),
            merged=dict(self.merged),
            ages=dict(self.ages),
            appends=dict(self.appends),
        )


class ReferenceStore:
    """The contract of `service.core.ports.Store`, kept in memory.

    Generations are named `g1`, `g2`, …; a real store's are random, so a comparison must map them. Each check that
    refuses an event or a snapshot is a method of its own, so that mutants.py can remove it.
    """

    def __init__(self, keep: int, days: int | None = None) -> None:
        self._keep = keep
        self._max_age = math.inf if days is None else 86_400.0 * days
        self._users: dict[str, _User] = {}
        self._numbers = count(1)

    def _generation(self) -> str:
        return f"g{next(self._numbers)}"

    def append_and_read(self, requests: Sequence[AppendAndRead]) -> list[LogView]:
        return [self._append_and_read(request) for request in requests]

    def _append_and_read(self, request: AppendAndRead) -> LogView:
        user = self._users.get(request.user_id) or _User("")
        before, outcomes = user.sequence, []
        for event in request.events:
            first = self._first(user, event)
            if first is not None:
                sequence, known = first
                same = known.fingerprint == event.fingerprint
                outcomes.append(Appended(sequence, True) if same else Conflict(sequence))
                continue
            if user.generation == "":
                user.generation = self._generation()
                self._users[request.user_id] = user
            user.sequence += 1
            user.log.append((user.sequence, event))
            user.appends[user.sequence] = f"a{next(self._numbers)}"
            outcomes.append(Appended(user.sequence, False))
        if user.sequence > before:
            self._trim(user)
            self._expire(user)
        applied, snapshot = user.snapshots.get(self._snapshot_key(request.model_version), (0, None))
        if snapshot is not None and not user.trimmed <= applied <= before:
            applied, snapshot = 0, None
        pending = tuple(e for e in _events(user) if e.sequence > applied)
        return LogView(
            user.generation,
            user.sequence,
            user.trimmed,
            snapshot,
            pending,
            tuple(outcomes),
            self._append(user, user.sequence),
            min([sequence for sequence, event in user.log if event.type], default=0),
        )

    def _trim(self, user: _User) -> None:
        if len(user.log) > self._keep:
            user.trimmed = user.log[-self._keep - 1][0]
            user.log = user.log[-self._keep :]

    def _expire(self, user: _User) -> int:
        removed = 0
        while user.log and user.ages.get(user.log[0][0], 0.0) > self._max_age:
            user.trimmed = user.log.pop(0)[0]
            removed += 1
        return removed

    def put_snapshots(self, puts: Sequence[SnapshotPut]) -> list[bool]:
        return [self._put(put) for put in puts]

    def _put(self, put: SnapshotPut) -> bool:
        user = self._users.get(put.user_id)
        if user is None or self._edited(user, put) or self._shorter(user, put) or self._undone(user, put):
            return False
        user.snapshots[self._snapshot_key(put.model_version)] = (put.applied, put.blob)
        user.snapshots = dict(list(user.snapshots.items())[-2:])
        return True

    def _first(self, user: _User, event: NewEvent) -> tuple[int, NewEvent] | None:
        """The kept event with the same event id, and its sequence."""
        found = [(s, e) for s, e in user.log if event.event_id is not None and e.event_id == event.event_id]
        return found[0] if found else None

    def _edited(self, user: _User, put: SnapshotPut) -> bool:
        """Whether the log has been edited since the snapshot was computed."""
        return put.generation != user.generation

    def _shorter(self, user: _User, put: SnapshotPut) -> bool:
        """Whether the snapshot's sequence refuses it."""
        stored = user.snapshots.get(self._snapshot_key(put.model_version))
        if put.applied > user.sequence:
            return True
        return stored is not None and not (put.repair or is_better(put.blob, put.applied, stored[1], stored[0]))

    def _undone(self, user: _User, put: SnapshotPut) -> bool:
        """Whether the snapshot's newest event has been undone."""
        return put.newest not in ("", self._append(user, put.applied))

    def _append(self, user: _User, sequence: int) -> str:
        kept = [s for s, _ in user.log if s <= sequence]
        return user.appends[kept[-1]] if kept else ""

    def _snapshot_key(self, model_version: str | None) -> str:
        """The key of a model version's snapshot."""
        return model_version or ""

    def record(self, user_id: str) -> _User | None:
        """A copy of the user, as a replica gets it."""
        user = self._users.get(user_id)
        return user and user.copy()

    def restore(self, user_id: str, record: _User | None) -> None:
        """Replace the user by a replica's copy, or delete it."""
        self._users.pop(user_id, None)
        if record is not None:
            self._users[user_id] = record.copy()

    def history(self, user_id: str, before: int | None, limit: int) -> History | None:
        user = self._users.get(user_id)
        if user is None:
            return None
        page = [e for e in _events(user) if before is None or e.sequence < before][-limit:]
        return History(user.sequence, len(user.log), user.trimmed, tuple(page))

    def delete_event(self, user_id: str, event_id: str) -> bool:
        user = self._users.get(user_id)
        if user is None or event_id not in [e.event_id for e in _events(user)]:
            return False
        user.log = [(s, e) for s, e in user.log if (e.event_id or f"seq-{s}") != event_id]
        user.snapshots = {}
        user.generation = self._generation()
        return True

    def delete_user(self, user_id: str) -> int:
        user = self._users.pop(user_id, None)
        return len(user.log) if user else 0

    def merge(self, user_id: str, from_user_id: str) -> Merged | None:
        source = self._users.pop(from_user_id, None)
        if source is None:
            known = user.merged.get(from_user_id) if (user := self._users.get(user_id)) else None
            return known and replace(known, repeated=True)
        user = self._users.setdefault(user_id, _User(""))
        own = {e.event_id: e.fingerprint for _, e in user.log if e.event_id is not None}
        fresh = [e for _, e in source.log if e.event_id not in own]
        duplicates = sum(own.get(e.event_id or "") == e.fingerprint for _, e in source.log)
        log = sorted(user.log + [(0, e) for e in fresh], key=lambda each: each[1].timestamp)
        ages = {id(e): u.ages.get(s, 0.0) for u in (user, source) for s, e in u.log}
        stays = 0
        while stays < len(user.log) and log[stays] is user.log[stays]:
            stays += 1
        renumbered = [(user.sequence + n, e) for n, (_, e) in enumerate(log[stays:], 1)]
        user.log = log[:stays] + renumbered
        user.sequence += len(renumbered)
        user.appends |= {sequence: f"a{next(self._numbers)}" for sequence, _ in renumbered}
        oldest = 0.0
        for sequence, event in reversed(user.log):
            oldest = user.ages[sequence] = max(oldest, ages[id(event)])
        self._trim(user)
        user.snapshots = {}
        user.generation = self._generation()
        conflicts = len(source.log) - len(fresh) - duplicates
        user.merged.pop(from_user_id, None)
        user.merged[from_user_id] = merged = Merged(len(fresh), duplicates, conflicts, user.sequence)
        return merged

    def make_older(self, user_id: str, seconds: float) -> None:
        """Move the arrival of the user's events back in time."""
        user = self._users.get(user_id)
        if user is not None:
            user.ages = {sequence: user.ages.get(sequence, 0.0) + seconds for sequence, _ in user.log}

    def expire(self, user_ids: Sequence[str]) -> int:
        removed = 0
        for user_id in user_ids:
            user = self._users.get(user_id)
            removed += self._expire(user) if user else 0
            if user and not user.log and self._max_age < math.inf:
                del self._users[user_id]
        return removed


def _events(user: _User) -> list[Event]:
    return [Event(s, e.item_id, e.timestamp, e.event_id or f"seq-{s}", *e[4:7]) for s, e in user.log]
