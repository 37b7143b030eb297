"""Membership: the live workers on one store, and their status.

Each worker keeps a status record in the store, and rewrites it every second. A worker counts as dead when its record
has not changed for some seconds. Each worker measures this by its own clock: clocks are never compared (decision
0064). Time in which the store could not be read does not count, because nobody could write (decision 0083).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from service.core.ports import Store

_PREFIX = "worker:"
_FORMAT = 1

HEARTBEAT_SECONDS = 1.0
DEAD_AFTER_SECONDS = 5.0
# After a longer gap between two observations every worker's record counts as just changed.
MAX_OBSERVATION_GAP_SECONDS = 2 * HEARTBEAT_SECONDS
# Age at which the record of a dead worker is removed. A worker that was only paused writes a new one.
REMOVE_AFTER_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """Status that a worker reports to the others.

    Attributes:
        loaded: the versions that the worker has loaded.
        serving: the label of what it serves, see `Serving.label`.
        refused: the reason for each version that it could not load.
        watching: whether it rolls out newly published bundles.
        attempt: the attempt of the desired state that this status answers.
    """

    loaded: tuple[str, ...] = ()
    serving: str = ""
    refused: Mapping[str, str] = field(default_factory=dict)
    watching: bool = False
    attempt: str = ""

    def encode(self, heartbeat: int) -> str:
        """Return the text of the record, which differs with each `heartbeat`."""
        entry = {
            "format": _FORMAT,
            "heartbeat": heartbeat,
            "loaded": self.loaded,
            "serving": self.serving,
            "refused": dict(self.refused),
            "watching": self.watching,
            "attempt": self.attempt,
        }
        return json.dumps(entry)


@dataclass(slots=True)
class _ObservedRecord:
    text: str
    changed_at: float
    status: WorkerStatus


class Membership:
    """Status records of this worker and of the others."""

    def __init__(self, store: Store, worker: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Create the membership of `worker`, a name unique on the store."""
        self.worker = worker
        self._store = store
        self._clock = clock
        self._heartbeat = 0
        self._reported: WorkerStatus | None = None
        self._reported_at = self._observed_at = -float("inf")
        self._observed: dict[str, _ObservedRecord] = {}

    def observe(self, records: Mapping[str, str]) -> None:
        """Compare the status records among `records` with those of the last observation."""
        now = self._clock()
        if now - self._observed_at > MAX_OBSERVATION_GAP_SECONDS:
            for known in self._observed.values():
                known.changed_at = now
        self._observed_at = now
        texts = {name.removeprefix(_PREFIX): text for name, text in records.items() if name.startswith(_PREFIX)}
        for worker, text in texts.items():
            known_record = self._observed.get(worker)
            if known_record is None or known_record.text != text:
                self._observed[worker] = _ObservedRecord(text, now, _decode_status(text))
        for worker in self._observed.keys() - texts.keys():
            del self._observed[worker]

    def alive(self) -> dict[str, WorkerStatus]:
        """Return the workers alive at the last observation, with this one."""
        oldest = self._observed_at - DEAD_AFTER_SECONDS
        return {
            worker: record.status
            for worker, record in self._observed.items()
            if record.changed_at >= oldest or worker == self.worker
        }

    def others(self) -> dict[str, WorkerStatus]:
        """Return the other workers alive at the last observation."""
        return {worker: status for worker, status in self.alive().items() if worker != self.worker}

    def leads_watch(self) -> bool:
        """Return whether this worker is the one that rolls out new bundles.

        It is the first by name of the workers that watch the registry. None leads before the first observation.
        """
        watching = [worker for worker, status in self.alive().items() if status.watching]
        return self.worker == min(watching, default="")

    async def report(self, status: WorkerStatus) -> None:
        """Write this worker's status if changed or a heartbeat is due.

        Raises `StoreUnavailable`.
        """
        now = self._clock()
        if status == self._reported and now - self._reported_at < HEARTBEAT_SECONDS:
            return
        self._heartbeat += 1
        text = status.encode(self._heartbeat)
        own = self._observed.get(self.worker)
        if await self._store.compare_and_set(_PREFIX + self.worker, own.text if own else None, text):
            self._reported, self._reported_at = status, now
            self._observed[self.worker] = _ObservedRecord(text, now, status)

    async def remove_dead(self) -> None:
        """Remove the records of long dead workers; raise `StoreUnavailable`."""
        oldest = self._clock() - REMOVE_AFTER_SECONDS
        for worker, record in list(self._observed.items()):
            if record.changed_at < oldest and worker != self.worker:
                await self._store.compare_and_set(_PREFIX + worker, record.text, None)

    async def leave(self) -> None:
        """Remove this worker's record; raise `StoreUnavailable`."""
        if own := self._observed.get(self.worker):
            await self._store.compare_and_set(_PREFIX + self.worker, own.text, None)


def _decode_status(text: str) -> WorkerStatus:
    """Parse a status record.

    One of another format counts as empty: its worker is alive, with nothing loaded.
    """
    try:
        entry = json.loads(text)
        if entry["format"] != _FORMAT:
            return WorkerStatus()
        return WorkerStatus(
            tuple(map(str, entry["loaded"])),
            str(entry["serving"]),
            {str(version): str(reason) for version, reason in entry["refused"].items()},
            entry["watching"] is True,
            str(entry["attempt"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return WorkerStatus()
