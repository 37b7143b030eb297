"""Replay of a user's log: its inputs and the next snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from service.core.engine_requests import EngineRequest, Query
from service.core.event_types.exclusions import Exclusions, exclusions_after
from service.core.events import Event, LogView, SnapshotPut
from service.core.ports import Engine
from service.core.recommending.log_replay.snapshots import Snapshot, next_snapshot, read_snapshot


class UserReplay(NamedTuple):
    """Replay of a user's pending events under one model.

    Attributes:
        user_id: The user.
        model_version: The model.
        view: The user's log.
        snapshot: The snapshot to begin from; None to begin from an empty history.
        events: The pending events that the model replays.
        excluded: The items that the events exclude from answers; see `Snapshot`.
    """

    user_id: str
    model_version: str
    view: LogView
    snapshot: Snapshot | None
    events: Sequence[Event]
    excluded: Exclusions | None

    @classmethod
    def of(cls, engine: Engine, user_id: str, view: LogView) -> UserReplay:
        """Decode the view's snapshot; raises `SnapshotDamagedError`."""
        snapshot, types = read_snapshot(view, user_id, engine.version), engine.event_types
        excluded = exclusions_after(None if snapshot is None else snapshot.excluded, view, types)
        return cls(user_id, engine.version, view, snapshot, types.replayed(view.pending), excluded)

    def request(self, query: Query | None = None, evaluated: tuple[int, ...] = ()) -> EngineRequest:
        """Return the engine's request; excluded items are added to the query's.

        `evaluated` are indices of `events`.
        """
        state = None if self.snapshot is None else self.snapshot.state
        if query is not None and self.excluded:
            query = query._replace(exclude=(*query.exclude, *self.excluded))
        return EngineRequest(state, tuple([event.item_id for event in self.events]), query, evaluated)

    def next_snapshot(self, state: bytes, *, repair: bool = False) -> SnapshotPut:
        """Return the snapshot of the state after the replay.

        With `repair` it replaces the stored one, whatever its sequence.
        """
        user_id, version, view, snapshot, _, excluded = self
        return next_snapshot(user_id, version, view, snapshot, state, excluded, repair=repair)
