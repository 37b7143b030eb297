"""Stores that lack one of the checks, to see that the simulation notices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from service.core.events import MemoPut, NewEvent, Snapshot, Visit
from service.core.recommending.snapshots import MemoDamaged, decode_memo, encode_memo
from tests.faults.simulation.engine import VERSIONS
from tests.store.model import ModelStore


class NoDedupe(ModelStore):
    """Appends an event that stands in the log already."""

    def _first(self, user: Any, event: NewEvent) -> None:
        return None


class NoSequenceComparison(ModelStore):
    """Stores a memo over a longer one, and one that reaches beyond the log."""

    def _shorter(self, user: Any, put: MemoPut) -> bool:
        return False


class NoGenerationComparison(ModelStore):
    """Stores a memo of a history that was edited or deleted meanwhile."""

    def _edited(self, user: Any, put: MemoPut) -> bool:
        return False


class NoAppendComparison(ModelStore):
    """Stores a memo whose newest event a failover has undone, once another has its sequence."""

    def _undone(self, user: Any, put: MemoPut) -> bool:
        return False


class NoModelComparison(ModelStore):
    """Keeps one memo for all models, and hands it to any; its name in the memo's checksum still speaks against it."""

    def _slot(self, model_version: str | None) -> str:
        return "any" if model_version else ""


class NoModelComparisonAtAll(NoModelComparison):
    """As before, and the checksum knows no model either."""

    def visit(self, visits: Sequence[Visit]) -> list[Snapshot]:
        return [_renamed(visit, snapshot) for visit, snapshot in zip(visits, super().visit(visits), strict=True)]


def _renamed(visit: Visit, snapshot: Snapshot) -> Snapshot:
    if snapshot.memo is None or visit.model_version is None:
        return snapshot
    for version in VERSIONS:
        try:
            memo = decode_memo(snapshot.memo, visit.user_id, version)
        except MemoDamaged:
            continue
        return replace(snapshot, memo=encode_memo(memo, visit.user_id, visit.model_version))
    return snapshot
