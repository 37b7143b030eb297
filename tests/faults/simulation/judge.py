"""Sees every call that the log's server executes and every answer that a client gets, and knows what must hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from service.core.errors import EventConflict, SnapshotDamagedError
from service.core.events import AppendAndRead, Event, History, LogView, SnapshotPut
from service.core.recommending.results import Answer, Recorded
from service.core.recommending.snapshots import decode_snapshot
from tests.faults.simulation.engine import fold
from tests.store.reference_store import ReferenceStore

ALL = 1_000_000


@dataclass(frozen=True, slots=True)
class State:
    """A user's log from `since` on.

    `whole` are the events of this generation, also those that retention has removed since it began; `marks` are all
    of its retention marks: a memo may reflect everything after any of them.
    """

    since: float
    generation: str
    history: History
    whole: tuple[Event, ...]
    marks: tuple[int, ...]

    def folds(self, version: str, upto: int) -> set[str]:
        """The states that an answer or a memo of this sequence may have."""
        items = [[e.item_id for e in self.whole if mark < e.sequence <= upto] for mark in self.marks]
        return {fold(version, None, tuple(each)).hex() for each in items}


@dataclass(frozen=True, slots=True)
class Acknowledged:
    user_id: str
    event_id: str
    item_id: str
    sequence: int
    first_try: float
    tries: int


_NOBODY = State(0.0, "", History(0, 0, 0, ()), (), (0,))


class Judge:
    """Collects what is wrong; `clock` is the simulated time."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.wrong: list[str] = []
        self.counts: Counter[str] = Counter()
        self._clock = clock
        self._states: dict[str, list[State]] = {}
        self._acknowledged: list[Acknowledged] = []
        self._newest: dict[tuple[str, str], tuple[float, int]] = {}
        self._deletions: dict[tuple[str, str | None], list[float]] = {}
        self._merges: list[tuple[float, str, str]] = []  # when, into whom, who
        self.sent_again: set[str] = set()  # ids of events that were sent once more after they were acknowledged
        self._cursors: dict[tuple[str, str, str], int] = {}

    def count(self, what: str) -> None:
        self.counts[what] += 1

    def accuse(self, what: str) -> None:
        self.wrong.append(f"at {self._clock():.4f}: {what}")

    # What the server did.

    def observe(self, user_id: str, model: ReferenceStore, failed_over: bool = False) -> None:
        """Note the user's log if it has changed."""
        states = self._states.setdefault(user_id, [_NOBODY])
        history = model.history(user_id, None, ALL) or _NOBODY.history
        generation = model.append_and_read([AppendAndRead(user_id, None)])[0].generation
        last = states[-1]
        if failed_over:
            self._cursors = {key: cursor for key, cursor in self._cursors.items() if key[0] != user_id}
        if (generation, history) == (last.generation, last.history):
            return
        # A failover may also undo a deletion, and with it bring the generation before back.
        same = next((state for state in reversed(states) if state.generation == generation), None)
        if same is not None:
            first = history.events[0].sequence if history.events else 0
            whole = tuple(e for e in same.whole if e.sequence < first) + history.events
            marks = (*(mark for mark in same.marks if mark < history.trimmed), history.trimmed)
        else:
            whole, marks = history.events, (history.trimmed,)
        states.append(State(self._clock(), generation, history, whole, marks))
        ids = [event.event_id for event in history.events]
        if len(set(ids)) < len(ids):
            self.accuse(f"duplicated: {user_id} holds an event twice: {ids}")
        sequences = [event.sequence for event in history.events]
        if sequences != sorted(set(sequences)) or (sequences and sequences[-1] > history.sequence):
            self.accuse(f"disordered: {user_id} has sequences {sequences}")

    def visited(self, request: AppendAndRead, view: LogView) -> None:
        """A memo that was stored must not give way to a shorter one, nor be another's."""
        key = (request.user_id, view.generation, request.model_version or "")
        if view.snapshot is None:
            self._cursors.pop(key, None)
            return
        self.count("memos read")
        try:
            applied = decode_snapshot(view.snapshot, request.user_id, request.model_version or "").applied
        except SnapshotDamagedError as error:
            self.accuse(f"another's memo: {request.user_id} and model {request.model_version}: {error}")
            return
        if applied < self._cursors.get(key, 0):
            self.accuse(f"shorter memo: {request.user_id} had one up to {self._cursors[key]}, now {applied}")
        self._cursors[key] = applied

    def put(self, put: SnapshotPut, stored: bool) -> None:
        self.count("memos stored" if stored else "memos refused")
        if not stored:
            return
        snapshot = decode_snapshot(put.blob, put.user_id, put.model_version)
        if snapshot.state.hex() not in self._log(put.user_id).folds(put.model_version, put.applied):
            self.accuse(f"wrong memo stored: {put.user_id} up to {put.applied} by model {put.model_version}")
        if put.repair:
            self._cursors.pop((put.user_id, put.generation, put.model_version), None)

    def deleted(self, user_id: str, event_id: str | None) -> None:
        self.count("events deleted" if event_id else "users deleted")
        self._deletions.setdefault((user_id, event_id), []).append(self._clock())

    def merged(self, user_id: str, from_user_id: str) -> None:
        self.count("merges")
        self._merges.append((self._clock(), user_id, from_user_id))

    # What a client was told.

    def acknowledged(self, client: str, told: Acknowledged) -> None:
        """A client that waits for one acknowledgement before it sends the next event finds its order in the log."""
        self.count("events acknowledged")
        self._acknowledged.append(told)
        since, newest = self._newest.get((client, told.user_id), (0.0, 0))
        # An id that retention has removed before its event came again is a new one.
        complete = self._log(told.user_id).history.trimmed == 0
        complete = complete and not self._merged_since(told.user_id, since)
        if complete and told.sequence <= newest and not self._gone(told.user_id, None, since):
            self.accuse(f"disordered: {client} was told {told.sequence} after {newest} for {told.user_id}")
        self._newest[client, told.user_id] = (told.first_try, told.sequence)

    def repeated(self, told: Acknowledged, again: Recorded | EventConflict) -> None:
        """An acknowledged event came once more and was answered."""
        known = isinstance(again, Recorded) and again.duplicate and again.sequence == told.sequence
        if not known and self._kept(told):
            self.accuse(f"duplicated: {told} came again and was told {again!r}")

    def answered(self, user_id: str, answer: Answer, begun: float) -> None:
        """The answer must be the fold at its sequence of what the log held at some moment since `begun`."""
        self.count("answers")
        said = answer.items[0].item_id
        for state in self._during(user_id, begun):
            if state.history.sequence == answer.sequence and said in state.folds(
                answer.model_version, answer.sequence
            ):
                if answer.cold != said.startswith("00"):
                    self.accuse(f"wrong answer: {user_id} at {answer.sequence} is said to be cold: {answer.cold}")
                return
        self.accuse(
            f"wrong answer: {user_id} at {answer.sequence} by model {answer.model_version} is no fold of the log"
        )

    def listed(self, user_id: str, history: History, begun: float) -> None:
        if history not in [state.history for state in self._during(user_id, begun)]:
            self.accuse(f"wrong list: {user_id} never had {history}")

    def finish(self) -> None:
        """Every acknowledged event is in the log exactly once, unless somebody has deleted it."""
        for told in self._acknowledged:
            if self._merged_since(told.user_id, told.first_try):
                self._look_in_both(told)
            if not self._kept(told):
                continue
            log = self._log(told.user_id).history.events
            found = [(e.sequence, e.item_id) for e in log if e.event_id == told.event_id]
            if found != [(told.sequence, told.item_id)]:
                self.accuse(f"lost or duplicated: {told} stands in the log as {found}")

    def _look_in_both(self, told: Acknowledged) -> None:
        """An event of two users that became one is in one of their logs. Who sends it again may begin the old one."""
        users = {told.user_id} | {into for _, into, who in self._merges if who == told.user_id}
        logs = [self._log(user_id).history for user_id in sorted(users)]
        gone = any(self._gone(user, what, 0.0) for user in users for what in (None, told.event_id))
        trimmed = any(state.history.trimmed for user in users for state in self._states.get(user, []))
        again = told.tries > 1 or told.event_id in self.sent_again
        if again or told.event_id.startswith("seq-") or gone or trimmed:
            return
        self.count("merged events found")
        found = [event.item_id for log in logs for event in log.events if event.event_id == told.event_id]
        if found != [told.item_id]:
            self.accuse(f"lost or duplicated in a merge: {told} stands in the logs as {found}")

    def _log(self, user_id: str) -> State:
        return self._states.get(user_id, [_NOBODY])[-1]

    def _kept(self, told: Acknowledged) -> bool:
        """Whether neither a deletion nor retention can have taken the event, and no merge its sequence."""
        return (
            not self._merged_since(told.user_id, told.first_try)
            and told.sequence > self._log(told.user_id).history.trimmed
            and not self._gone(told.user_id, None, told.first_try)
            and not self._gone(told.user_id, told.event_id, told.first_try)
        )

    def _gone(self, user_id: str, event_id: str | None, since: float) -> bool:
        return any(when >= since for when in self._deletions.get((user_id, event_id), ()))

    def _merged_since(self, user_id: str, since: float) -> bool:
        return any(when >= since and user_id in users for when, *users in self._merges)

    def _during(self, user_id: str, begun: float) -> list[State]:
        states = self._states.get(user_id, [_NOBODY])
        ends = [state.since for state in states[1:]] + [self._clock()]
        return [state for state, end in zip(states, ends, strict=True) if end >= begun]
