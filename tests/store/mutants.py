"""Stores that lack one of the checks, to see that the simulation notices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from service.core.errors import SnapshotDamagedError
from service.core.events import AppendAndRead, LogView, NewEvent, SnapshotPut
from service.core.recommending.snapshots import decode_snapshot, encode_snapshot
from tests.faults.simulation.engine import VERSIONS
from tests.store.model import ModelStore


class NoDedupe(ModelStore):
    """Appends an event that stands in the log already."""

    def _first(self, user: Any, event: NewEvent) -> None:
        return None


class NoSequenceComparison(ModelStore):
    """Stores a memo over a longer one, and one that reaches beyond the log."""

    def _shorter(self, user: Any, put: SnapshotPut) -> bool:
        return False


class NoGenerationComparison(ModelStore):
    """Stores a memo of a history that was edited or deleted meanwhile."""

    def _edited(self, user: Any, put: SnapshotPut) -> bool:
        return False


class NoAppendComparison(ModelStore):
    """Stores a memo whose newest event a failover has undone, once another has its sequence."""

    def _undone(self, user: Any, put: SnapshotPut) -> bool:
        return False


class NoModelComparison(ModelStore):
    """Keeps one memo for all models, and hands it to any; its name in the memo's checksum still speaks against it."""

    def _slot(self, model_version: str | None) -> str:
        return "any" if model_version else ""


class NoModelComparisonAtAll(NoModelComparison):
    """As before, and the checksum knows no model either."""

    def append_and_read(self, requests: Sequence[AppendAndRead]) -> list[LogView]:
        return [
            _renamed(request, view) for request, view in zip(requests, super().append_and_read(requests), strict=True)
        ]


def _renamed(request: AppendAndRead, view: LogView) -> LogView:
    if view.snapshot is None or request.model_version is None:
        return view
    for version in VERSIONS:
        try:
            snapshot = decode_snapshot(view.snapshot, request.user_id, version)
        except SnapshotDamagedError:
            continue
        return replace(view, snapshot=encode_snapshot(snapshot, request.user_id, request.model_version))
    return view
