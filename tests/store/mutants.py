"""Stores that each lack one check, to show that the tests notice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from service.core.errors import SnapshotDamagedError
from service.core.events import AppendAndRead, LogView, NewEvent, SnapshotPut
from service.core.recommending.log_replay.snapshots import decode_snapshot, encode_snapshot
from tests.faults.simulation.engine import VERSIONS
from tests.store.reference_store import ReferenceStore


class NoDedupe(ReferenceStore):
    """Appends an event again whose event id is in the log."""

    def _first(self, user: Any, event: NewEvent) -> None:
        return None


class NoSequenceComparison(ReferenceStore):
    """Stores a snapshot over a longer one, and one beyond the log."""

    def _shorter(self, user: Any, put: SnapshotPut) -> bool:
        return False


class NoGenerationComparison(ReferenceStore):
    """Stores a snapshot of a log that was edited or deleted meanwhile."""

    def _edited(self, user: Any, put: SnapshotPut) -> bool:
        return False


class NoAppendComparison(ReferenceStore):
    """Stores a snapshot with an event that a failover undid.

    Another event has its sequence now.
    """

    def _undone(self, user: Any, put: SnapshotPut) -> bool:
        return False


class NoModelComparison(ReferenceStore):
    """Keeps one snapshot for all model versions.

    The snapshot's checksum covers the version, so a reader still finds it damaged.
    """

    def _snapshot_key(self, model_version: str | None) -> str:
        return "any" if model_version else ""


class NoModelComparisonAtAll(NoModelComparison):
    """Keeps one snapshot for all versions, valid for each of them."""

    def append_and_read(self, requests: Sequence[AppendAndRead]) -> list[LogView]:
        return [
            _resigned(request, view)
            for request, view in zip(requests, super().append_and_read(requests), strict=True)
        ]


def _resigned(request: AppendAndRead, view: LogView) -> LogView:
    """A view whose snapshot is valid for the requested version."""
    if view.snapshot is None or request.model_version is None:
        return view
    for version in VERSIONS:
        try:
            snapshot = decode_snapshot(view.snapshot, request.user_id, version)
        except SnapshotDamagedError:
            continue
        return replace(view, snapshot=encode_snapshot(snapshot, request.user_id, request.model_version))
    return view
