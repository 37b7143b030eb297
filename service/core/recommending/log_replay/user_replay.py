"""Replay of a user's log: its inputs and the next snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from service.core.engine_requests import EngineRequest, Query
from service.core.errors import SnapshotDamagedError
from service.core.event_types.exclusions import Exclusions, exclusions_after
from service.core.events import Event, LogView, SnapshotPut
from service.core.new_items.vector_mark import VectorMark
from service.core.ports import Engine
from service.core.recommending.log_replay.snapshots import Snapshot, decode_snapshot, encode_snapshot


class UserReplay(NamedTuple):
    """Replay of a user's pending events under one model.

    Attributes:
        user_id: The user.
        model_version: The model.
        view: The user's log.
        snapshot: The snapshot to begin from; None to begin from an empty history.
        events: The pending events that the model replays.
        ignored: Number of pending events of types that the model ignores.
        excluded: The items that the events exclude from answers; see `Snapshot`.
    """

    user_id: str
    model_version: str
    view: LogView
    snapshot: Snapshot | None
    events: Sequence[Event]
    ignored: int
    excluded: Exclusions | None

    @classmethod
    def of(cls, engine: Engine, user_id: str, view: LogView) -> UserReplay:
        """Decode the view's snapshot; raises `SnapshotDamagedError`."""
        snapshot = None if view.snapshot is None else decode_snapshot(view.snapshot, user_id, engine.version)
        before = None if snapshot is None else snapshot.excluded
        if before is None and not view.typed_from and engine.event_types.replays_views:
            for event in view.pending:
                if event.type:
                    break
            else:  # ordinary: the user has views only
                return cls(user_id, engine.version, view, snapshot, view.pending, 0, None)
        if snapshot is not None and before is None and 0 < view.typed_from <= snapshot.applied:
            raise SnapshotDamagedError("a release without event types replayed events that have one")
        events = engine.event_types.replayed(view.pending)
        ignored = sum([engine.event_types.effect(event.type).replay == "ignored" for event in view.pending])
        excluded = exclusions_after(before, view, engine.event_types)
        return cls(user_id, engine.version, view, snapshot, events, ignored, excluded)

    def request(self, query: Query | None = None, evaluated: tuple[int, ...] = ()) -> EngineRequest:
        """Return the engine's request; excluded items are added to the query's.

        `evaluated` are indices of `events`.
        """
        state = None if self.snapshot is None else self.snapshot.state
        if query is not None and self.excluded:
            query = query._replace(exclude=(*query.exclude, *self.excluded))
        items, types = tuple([event.item_id for event in self.events]), tuple[str, ...]()
        if self.excluded is not None:  # some event has a type
            types = tuple([event.type for event in self.events])
        return EngineRequest(state, items, query, evaluated, types)

    @property
    def item_ids(self) -> tuple[str, ...]:
        """Items of the events to replay."""
        return tuple([event.item_id for event in self.events])

    def next_snapshot(self, state: bytes, *, repair: bool = False, mark: VectorMark | None = None) -> SnapshotPut:
        """Return the snapshot of the state after the replay.

        With `repair` it replaces the stored one, whatever its sequence. `mark` is of the vectors that it had.
        """
        user_id, version, view, previous = self[:4]
        base = view.trimmed if previous is None else previous.base
        blob = encode_snapshot(Snapshot(view.sequence, base, state, self.excluded, mark), user_id, version)
        return SnapshotPut(user_id, view.generation, version, view.sequence, blob, repair, view.newest)
