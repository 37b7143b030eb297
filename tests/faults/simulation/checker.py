"""Checker: observes every executed store call and every result, and reports violations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from service.core.errors import EventConflict, SnapshotDamagedError
from service.core.events import AppendAndRead, Event, History, LogView, SnapshotPut
from service.core.recommending.log_replay.snapshots import decode_snapshot
from service.core.recommending.results import Answer, Recorded
from tests.faults.simulation.engine import replay
from tests.store.reference_store import ReferenceStore

ALL_EVENTS = 1_000_000


@dataclass(frozen=True, slots=True)
class State:
    """State of a user's log, which is valid from `since` on.

    Attributes:
        since: simulated time of the change.
        generation: generation of the log.
        history: the kept events.
        all_events: the events of this generation, with those that retention has removed.
        trim_marks: sequences up to which retention has removed events. A snapshot may reflect the events after any
            of them.
    """

    since: float
    generation: str
    history: History
    all_events: tuple[Event, ...]
    trim_marks: tuple[int, ...]

    def valid_states(self, version: str, sequence: int) -> set[str]:
        """Return the states, in hex, that are valid at this sequence."""
        items = [[e.item_id for e in self.all_events if mark < e.sequence <= sequence] for mark in self.trim_marks]
        return {replay(version, None, tuple(each)).hex() for each in items}


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """Event that the service has acknowledged to a client."""

    user_id: str
    event_id: str
    item_id: str
    sequence: int
    sent_at: float
    attempts: int


_UNKNOWN_USER = State(0.0, "", History(0, 0, 0, ()), (), (0,))


class Checker:
    """Collects violations; `clock` returns the simulated time."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.violations: list[str] = []
        self.counts: Counter[str] = Counter()
        self._clock = clock
        self._states: dict[str, list[State]] = {}
        self._acknowledged: list[Acknowledged] = []
        self._last_acknowledged: dict[tuple[str, str], tuple[float, int]] = {}
        self._deletions: dict[tuple[str, str | None], list[float]] = {}
        self._merges: list[tuple[float, str, str]] = []  # time, target, source
        self.resent_ids: set[str] = set()  # event ids sent again after their acknowledgement
        self._snapshot_sequences: dict[tuple[str, str, str], int] = {}

    def count(self, occurrence: str) -> None:
        self.counts[occurrence] += 1

    def report_violation(self, violation: str) -> None:
        self.violations.append(f"at {self._clock():.4f}: {violation}")

    # Calls that the server has executed.

    def observe(self, user_id: str, model: ReferenceStore, failed_over: bool = False) -> None:
        """Keep the state of the user's log if it has changed."""
        states = self._states.setdefault(user_id, [_UNKNOWN_USER])
        history = model.history(user_id, None, ALL_EVENTS) or _UNKNOWN_USER.history
        generation = model.append_and_read([AppendAndRead(user_id, None)])[0].generation
        last = states[-1]
        if failed_over:
            self._snapshot_sequences = {
                key: cursor for key, cursor in self._snapshot_sequences.items() if key[0] != user_id
            }
        if (generation, history) == (last.generation, last.history):
            return
        # A failover may undo a deletion, which restores the generation before it.
        same = next((state for state in reversed(states) if state.generation == generation), None)
        if same is not None:
            first = history.events[0].sequence if history.events else 0
            all_events = tuple(e for e in same.all_events if e.sequence < first) + history.events
            trim_marks = (*(mark for mark in same.trim_marks if mark < history.trimmed), history.trimmed)
        else:
            all_events, trim_marks = history.events, (history.trimmed,)
        states.append(State(self._clock(), generation, history, all_events, trim_marks))
        ids = [event.event_id for event in history.events]
        if len(set(ids)) < len(ids):
            self.report_violation(f"duplicated: {user_id} holds an event twice: {ids}")
        sequences = [event.sequence for event in history.events]
        if sequences != sorted(set(sequences)) or (sequences and sequences[-1] > history.sequence):
            self.report_violation(f"disordered: {user_id} has sequences {sequences}")

    def read(self, request: AppendAndRead, view: LogView) -> None:
        """Check that a snapshot is the user's, and not shorter than before."""
        key = (request.user_id, view.generation, request.model_version or "")
        if view.snapshot is None:
            self._snapshot_sequences.pop(key, None)
            return
        self.count("snapshots read")
        try:
            applied = decode_snapshot(view.snapshot, request.user_id, request.model_version or "").applied
        except SnapshotDamagedError as error:
            self.report_violation(f"foreign snapshot: {request.user_id} and model {request.model_version}: {error}")
            return
        if applied < self._snapshot_sequences.get(key, 0):
            self.report_violation(
                f"shorter snapshot: {request.user_id} had sequence {self._snapshot_sequences[key]}, now {applied}"
            )
        self._snapshot_sequences[key] = applied

    def put(self, put: SnapshotPut, stored: bool) -> None:
        self.count("snapshots stored" if stored else "snapshots refused")
        if not stored:
            return
        snapshot = decode_snapshot(put.blob, put.user_id, put.model_version)
        if snapshot.state.hex() not in self._log(put.user_id).valid_states(put.model_version, put.applied):
            self.report_violation(
                f"wrong snapshot stored: {put.user_id} at {put.applied} by model {put.model_version}"
            )
        if put.repair:
            self._snapshot_sequences.pop((put.user_id, put.generation, put.model_version), None)

    def deleted(self, user_id: str, event_id: str | None) -> None:
        self.count("events deleted" if event_id else "users deleted")
        self._deletions.setdefault((user_id, event_id), []).append(self._clock())

    def merged(self, user_id: str, from_user_id: str) -> None:
        self.count("merges")
        self._merges.append((self._clock(), user_id, from_user_id))

    # Results that a client has received.

    def acknowledged(self, client: str, acknowledged: Acknowledged) -> None:
        """Check that the sequences of one client's events ascend.

        A client waits for each acknowledgement before it sends the next event.
        """
        self.count("events acknowledged")
        self._acknowledged.append(acknowledged)
        since, newest = self._last_acknowledged.get((client, acknowledged.user_id), (0.0, 0))
        # An event id that retention has removed counts as new when it is sent again.
        complete = self._log(acknowledged.user_id).history.trimmed == 0
        complete = complete and not self._merged_since(acknowledged.user_id, since)
        if (
            complete
            and acknowledged.sequence <= newest
            and not self._deleted_since(acknowledged.user_id, None, since)
        ):
            self.report_violation(
                f"disordered: {client} received {acknowledged.sequence} after {newest} for {acknowledged.user_id}"
            )
        self._last_acknowledged[client, acknowledged.user_id] = (acknowledged.sent_at, acknowledged.sequence)

    def repeated(self, acknowledged: Acknowledged, again: Recorded | EventConflict) -> None:
        """Check the result of an acknowledged event that was sent again."""
        known = isinstance(again, Recorded) and again.duplicate and again.sequence == acknowledged.sequence
        if not known and self._must_be_kept(acknowledged):
            self.report_violation(f"duplicated: {acknowledged} was sent again, with the result {again!r}")

    def answered(self, user_id: str, answer: Answer, started_at: float) -> None:
        """Check that the result replays a state of the log since `started_at`."""
        self.count("results")
        state_hex = answer.items[0].item_id
        for state in self._states_since(user_id, started_at):
            valid_states = state.valid_states(answer.model_version, answer.sequence)
            if state.history.sequence == answer.sequence and state_hex in valid_states:
                if answer.cold != state_hex.startswith("00"):
                    self.report_violation(f"wrong result: {user_id} at {answer.sequence} has cold={answer.cold}")
                return
        self.report_violation(
            f"wrong result: {user_id} at {answer.sequence} by model {answer.model_version} is no replay of the log"
        )

    def listed(self, user_id: str, history: History, started_at: float) -> None:
        if history not in [state.history for state in self._states_since(user_id, started_at)]:
            self.report_violation(f"wrong history: {user_id} never had {history}")

    def finish(self) -> None:
        """Check that each acknowledged event is in the log once, unless deleted."""
        for acknowledged in self._acknowledged:
            if self._merged_since(acknowledged.user_id, acknowledged.sent_at):
                self._check_merged(acknowledged)
            if not self._must_be_kept(acknowledged):
                continue
            log = self._log(acknowledged.user_id).history.events
            found = [(e.sequence, e.item_id) for e in log if e.event_id == acknowledged.event_id]
            if found != [(acknowledged.sequence, acknowledged.item_id)]:
                self.report_violation(f"lost or duplicated: {acknowledged} is in the log as {found}")

    def _check_merged(self, acknowledged: Acknowledged) -> None:
        """Check that a merged user's event is in one of both logs.

        An event that was sent again may have started a new log of the source.
        """
        users = {acknowledged.user_id} | {
            target for _, target, source in self._merges if source == acknowledged.user_id
        }
        logs = [self._log(user_id).history for user_id in sorted(users)]
        deleted = any(
            self._deleted_since(user, event_id, 0.0) for user in users for event_id in (None, acknowledged.event_id)
        )
        trimmed = any(state.history.trimmed for user in users for state in self._states.get(user, []))
        sent_twice = acknowledged.attempts > 1 or acknowledged.event_id in self.resent_ids
        if sent_twice or acknowledged.event_id.startswith("seq-") or deleted or trimmed:
            return
        self.count("merged events found")
        found = [event.item_id for log in logs for event in log.events if event.event_id == acknowledged.event_id]
        if found != [acknowledged.item_id]:
            self.report_violation(f"lost or duplicated in a merge: {acknowledged} is in the logs as {found}")

    def _log(self, user_id: str) -> State:
        return self._states.get(user_id, [_UNKNOWN_USER])[-1]

    def _must_be_kept(self, acknowledged: Acknowledged) -> bool:
        """Return whether no deletion, retention or merge affected the event."""
        return (
            not self._merged_since(acknowledged.user_id, acknowledged.sent_at)
            and acknowledged.sequence > self._log(acknowledged.user_id).history.trimmed
            and not self._deleted_since(acknowledged.user_id, None, acknowledged.sent_at)
            and not self._deleted_since(acknowledged.user_id, acknowledged.event_id, acknowledged.sent_at)
        )

    def _deleted_since(self, user_id: str, event_id: str | None, since: float) -> bool:
        return any(time >= since for time in self._deletions.get((user_id, event_id), ()))

    def _merged_since(self, user_id: str, since: float) -> bool:
        return any(time >= since and user_id in users for time, *users in self._merges)

    def _states_since(self, user_id: str, started_at: float) -> list[State]:
        states = self._states.get(user_id, [_UNKNOWN_USER])
        ends = [state.since for state in states[1:]] + [self._clock()]
        return [state for state, end in zip(states, ends, strict=True) if end >= started_at]
