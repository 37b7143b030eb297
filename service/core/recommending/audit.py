"""The check of a user's memo against the log, which is the truth."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from service.core.errors import UserNotFound
from service.core.events import Snapshot, Visit
from service.core.ports import Engine, EngineJob, Folded, Meter, StateDamaged, Turn
from service.core.recommending.snapshots import MemoDamaged, decode_memo


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
    memo: Literal["found", "absent", "damaged"]
    exact: bool
    max_relative_error: float | None


async def audit(
    engine: Engine,
    user_id: str,
    meter: Meter,
    visit: Callable[[Visit, float], Awaitable[Snapshot]],
    fold: Callable[[EngineJob, float], Awaitable[Folded]],
    deadline: float,
) -> Audit:
    """Fold the kept events anew and compare with the stored memo; raises `UserNotFound`."""
    # The log may grow between the two visits: the full one comes second, so it covers the memo's cursor.
    stored = await visit(Visit(user_id, engine.version), deadline)
    whole = await visit(Visit(user_id, None), deadline)
    if not whole.generation:
        raise UserNotFound("no events are known for this user")
    if stored.memo is None or stored.generation != whole.generation:
        # Another generation: the history was edited in between, and with it went the memo.
        return Audit(engine.version, whole.sequence, 0, len(whole.pending), "absent", True, 0.0)
    try:
        memo = decode_memo(stored.memo, user_id, engine.version)
        items = tuple(e.item_id for e in whole.pending if e.sequence <= memo.applied)
        expected = await fold((engine, Turn(None, items, None)), deadline)
        error = engine.difference(memo.state, expected.state)
    except (MemoDamaged, StateDamaged):
        meter.memo_damaged()
        return Audit(engine.version, whole.sequence, 0, len(whole.pending), "damaged", True, None)
    exact = memo.base == whole.trimmed
    return Audit(engine.version, whole.sequence, memo.applied, len(whole.pending), "found", exact, error)
