"""Audit of a user's snapshot against the event log."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from service.core.errors import SnapshotDamagedError, StateDamagedError, UserNotFound
from service.core.event_types.exclusions import kept_exclusions
from service.core.events import AppendAndRead
from service.core.new_items.vector_mark import UNMARKED
from service.core.ports import Engine, Meter
from service.core.recommending.batching import BatchedEngine, BatchedStore
from service.core.recommending.log_replay.snapshots import NewItems, mark_of
from service.core.recommending.log_replay.user_replay import UserReplay


@dataclass(frozen=True, slots=True)
class Audit:
    """Difference between a user's snapshot and a replay of the kept events.

    Attributes:
        model_version: The model of both.
        sequence: The newest sequence of the log.
        applied: The sequence up to which the snapshot has replayed the log; 0 without a snapshot.
        kept: The number of kept events.
        snapshot: Whether a snapshot was found. A damaged one is never used: the next answer replaces it.
        exact: Whether the two must be equal. They may differ after retention has removed events that the snapshot
            still reflects.
        max_relative_error: See `Engine.difference`; 0 without a snapshot, None for a damaged one.
    """

    model_version: str
    sequence: int
    applied: int
    kept: int
    snapshot: Literal["found", "absent", "damaged"]
    exact: bool
    max_relative_error: float | None


async def audit(
    engine: Engine,
    user_id: str,
    meter: Meter,
    store: BatchedStore,
    batched_engine: BatchedEngine,
    new_items: NewItems,
    deadline: float,
) -> Audit:
    """Compare the user's snapshot with a replay; raises `UserNotFound`.

    The replay has the vectors of new items that the snapshot's had.
    """
    # The log may grow between the two reads. The whole log is read second, so it covers the snapshot's sequence.
    stored = await store.append_and_read(AppendAndRead(user_id, engine.version), deadline)
    whole = await store.append_and_read(AppendAndRead(user_id, None), deadline, bulk=True)
    kept = len(whole.pending)
    if not whole.generation:
        raise UserNotFound("no events are known for this user")
    if stored.snapshot is None or stored.generation != whole.generation:
        # After a change of generation the log was edited between the reads, which deletes the snapshot.
        return Audit(engine.version, whole.sequence, 0, kept, "absent", True, 0.0)
    try:
        snapshot = UserReplay.of(engine, user_id, stored).snapshot
        assert snapshot is not None  # noqa: S101 - checked above
        covered = tuple([event for event in whole.pending if event.sequence <= snapshot.applied])
        replay = UserReplay.of(engine, user_id, replace(whole, snapshot=None, pending=covered))
        if (held := new_items.held(engine)) is not None:
            mark = mark_of(snapshot) or UNMARKED
            if await new_items.prepare(engine, mark, ()) == "undone":
                raise SnapshotDamagedError("a failover undid vectors of new items")
            had = tuple([event for event in replay.events if held.had(mark.position.revision, event.item_id)])
            replay = replay._replace(events=had)
        replayed = await batched_engine.run(engine, replay.request(), deadline)
        error = engine.difference(snapshot.state, replayed.state)
        if kept_exclusions(snapshot.excluded, whole) != (replay.excluded or {}):
            error = max(error, 1.0)
    except (SnapshotDamagedError, StateDamagedError):
        meter.snapshot_damaged()
        return Audit(engine.version, whole.sequence, 0, kept, "damaged", True, None)
    return Audit(
        engine.version, whole.sequence, snapshot.applied, kept, "found", snapshot.base == whole.trimmed, error
    )
