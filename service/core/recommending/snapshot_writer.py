"""Background writer of snapshots.

A lost snapshot costs a longer replay, never an event.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from contextvars import Context

from service.core.errors import ServiceError
from service.core.events import SnapshotPut
from service.core.ports import Store

_log = logging.getLogger(__name__)

MAX_SNAPSHOT_BATCH = 32  # some 1 ms of Redis


class SnapshotWriter:
    """Queues the newest snapshot of each user and writes them in batches.

    Args:
        store: Where snapshots are written to.
        max_queue: Queued users; beyond them new snapshots are dropped.
        max_batch: Snapshots in one store round trip.
        delay_seconds: Time a snapshot stays queued, so that a round trip carries many and the user's next event
            may replace it.
    """

    def __init__(
        self, store: Store, *, max_queue: int, max_batch: int = MAX_SNAPSHOT_BATCH, delay_seconds: float = 0.0
    ) -> None:
        self._store = store
        self._max_queue = max_queue
        self._max_batch = max_batch
        self._delay_seconds = delay_seconds
        self._closing = asyncio.Event()
        self._queue: dict[tuple[str, str], SnapshotPut] = {}
        self._writing: asyncio.Task[None] | None = None

    def offer(self, put: SnapshotPut) -> None:
        """Queue a snapshot, unless a longer one of the log is queued."""
        key = (put.user_id, put.model_version)
        queued = self._queue.get(key)
        if queued is None and len(self._queue) >= self._max_queue:
            return
        if queued is not None and queued.generation == put.generation:
            newest = queued if queued.applied > put.applied else put
            # A repair stays one until it is written, or the damaged snapshot could refuse its successor.
            put = newest._replace(repair=queued.repair or put.repair)
        self._queue[key] = put
        if self._writing is None:
            # An empty context: the writes serve many requests, so their logs must not carry one's request id.
            self._writing = asyncio.create_task(self._write_queued(), context=Context())

    async def close(self) -> None:
        """Try to write every queued snapshot, without the delay."""
        self._closing.set()
        while self._writing is not None:
            await self._writing

    async def _write_queued(self) -> None:
        try:
            while self._queue:
                if len(self._queue) < self._max_batch and not self._closing.is_set():
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._closing.wait(), self._delay_seconds)
                keys = list(self._queue)[: self._max_batch]
                puts = [self._queue.pop(key) for key in keys]
                try:
                    await self._store.put_snapshots(puts)
                except ServiceError as error:
                    _log.warning("cannot write snapshots", extra={"count": len(puts), "reason": error.for_log})
                except Exception:
                    # A fault must neither end the writer nor make close() fail: snapshots can be computed again.
                    _log.exception("cannot write snapshots", extra={"count": len(puts)})
        finally:
            self._writing = None
