"""The check of a user's memo against the log, which is the truth."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from service.core.engine_requests import EngineRequest, EngineResult, StateDamagedError
from service.core.errors import UserNotFound
from service.core.events import AppendAndRead, LogView
from service.core.ports import Engine, EngineJob, Meter
from service.core.recommending.snapshots import SnapshotDamagedError, decode_snapshot


@dataclass(frozen=True, slots=True)
class Audit:
    """How far a user's memo is from the fold of the kept events under the same model.

    Without a memo nothing can differ: the error is 0. A damaged memo has no error to state (None): it is never
    served, the next answer rebuilds it.

    `exact` is False where retention has removed events that the memo still reflects: then a difference is
    expected, since a rebuilt state folds the kept events alone.
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
    append_and_read: Callable[[AppendAndRead, float], Awaitable[LogView]],
    fold: Callable[[EngineJob, float], Awaitable[EngineResult]],
    deadline: float,
) -> Audit:
    """Fold the kept events anew and compare with the stored memo; raises `UserNotFound`."""
    # The log may grow between the two visits: the full one comes second, so it covers the memo's cursor.
    stored = await append_and_read(AppendAndRead(user_id, engine.version), deadline)
    whole = await append_and_read(AppendAndRead(user_id, None), deadline)
    if not whole.generation:
        raise UserNotFound("no events are known for this user")
    if stored.snapshot is None or stored.generation != whole.generation:
        # Another generation: the history was edited in between, and with it went the memo.
        return Audit(engine.version, whole.sequence, 0, len(whole.pending), "absent", True, 0.0)
    try:
        snapshot = decode_snapshot(stored.snapshot, user_id, engine.version)
        items = tuple(e.item_id for e in whole.pending if e.sequence <= snapshot.applied)
        expected = await fold((engine, EngineRequest(None, items, None)), deadline)
        error = engine.difference(snapshot.state, expected.state)
    except (SnapshotDamagedError, StateDamagedError):
        meter.snapshot_damaged()
        return Audit(engine.version, whole.sequence, 0, len(whole.pending), "damaged", True, None)
    exact = snapshot.base == whole.trimmed
    return Audit(engine.version, whole.sequence, snapshot.applied, len(whole.pending), "found", exact, error)
