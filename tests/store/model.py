"""The store's contract once more, as plainly as it can be said: the model that random operations are compared to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

from service.core.events import Appended, Conflict, Event, History, MemoPut, NewEvent, Snapshot, Visit


@dataclass
class _User:
    generation: str
    sequence: int = 0
    trimmed: int = 0
    log: list[tuple[int, NewEvent]] = field(default_factory=list)
    memos: dict[str, tuple[int, bytes]] = field(default_factory=dict)  # by first write


class ModelStore:
    """Generations are named `g1`, `g2`, …; a real store's are random, so a comparison goes by where they change."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._users: dict[str, _User] = {}
        self._numbers = count(1)

    def _generation(self) -> str:
        return f"g{next(self._numbers)}"

    def visit(self, visits: Sequence[Visit]) -> list[Snapshot]:
        return [self._visit(visit) for visit in visits]

    def _visit(self, visit: Visit) -> Snapshot:
        user = self._users.get(visit.user_id) or _User("")
        before, outcomes = user.sequence, []
        for event in visit.events:
            first = [(s, e) for s, e in user.log if event.event_id is not None and e.event_id == event.event_id]
            if first:
                [(sequence, known)] = first
                same = known.fingerprint == event.fingerprint
                outcomes.append(Appended(sequence, True) if same else Conflict(sequence))
                continue
            if user.generation == "":
                user.generation = self._generation()
                self._users[visit.user_id] = user
            user.sequence += 1
            user.log.append((user.sequence, event))
            outcomes.append(Appended(user.sequence, False))
        if user.sequence > before and len(user.log) > self._keep:
            user.trimmed = user.log[-self._keep - 1][0]
            user.log = user.log[-self._keep :]
        applied, memo = user.memos.get(visit.model_version or "", (0, None))
        if memo is not None and not user.trimmed <= applied <= before:
            applied, memo = 0, None
        pending = tuple(e for e in _events(user) if e.sequence > applied)
        return Snapshot(user.generation, user.sequence, user.trimmed, memo, pending, tuple(outcomes))

    def put_memos(self, puts: Sequence[MemoPut]) -> list[bool]:
        return [self._put(put) for put in puts]

    def _put(self, put: MemoPut) -> bool:
        user = self._users.get(put.user_id)
        if user is None or put.generation != user.generation or put.applied > user.sequence:
            return False
        stored = user.memos.get(put.model_version)
        if stored is not None and put.applied <= stored[0] and not put.repair:
            return False
        user.memos[put.model_version] = (put.applied, put.blob)
        user.memos = dict(list(user.memos.items())[-2:])
        return True

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
        user.memos = {}
        user.generation = self._generation()
        return True

    def delete_user(self, user_id: str) -> int:
        user = self._users.pop(user_id, None)
        return len(user.log) if user else 0


def _events(user: _User) -> list[Event]:
    return [Event(s, e.item_id, e.timestamp, e.event_id or f"seq-{s}") for s, e in user.log]
