"""Writes memos off the critical path. Losing one costs a later fold, never an event."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from contextvars import Context

from service.core.errors import ServiceError
from service.core.events import SnapshotPut
from service.core.ports import Store

_log = logging.getLogger(__name__)


class SnapshotWriter:
    """Keeps the newest memo of each user that waits to be stored, and stores them in batches.

    A memo waits for `linger` seconds, so that a round trip carries many and a user's next event may replace it.
    Bounded: beyond `max_waiting` users new memos are dropped, because the next reader can fold the gap.
    """

    def __init__(self, store: Store, *, max_waiting: int, max_batch: int = 256, linger: float = 0.0) -> None:
        self._store = store
        self._max_waiting = max_waiting
        self._max_batch = max_batch
        self._linger = linger
        self._closing = asyncio.Event()
        self._waiting: dict[tuple[str, str], SnapshotPut] = {}
        self._worker: asyncio.Task[None] | None = None

    def offer(self, put: SnapshotPut) -> None:
        """Store `put` soon, unless a longer one of the same history is already waiting."""
        key = (put.user_id, put.model_version)
        waiting = self._waiting.get(key)
        if waiting is None and len(self._waiting) >= self._max_waiting:
            return
        if waiting is not None and waiting.generation == put.generation:
            newest = waiting if waiting.applied > put.applied else put
            # A repair that is still owed stays owed, or the damaged memo could refuse its successor.
            put = newest._replace(repair=waiting.repair or put.repair)
        self._waiting[key] = put
        if self._worker is None:
            # The writes of many requests: their logs must not carry the first one's request id.
            self._worker = asyncio.create_task(self._work(), context=Context())

    async def close(self) -> None:
        """Return when every memo that was offered has been tried."""
        self._closing.set()
        while self._worker is not None:
            await self._worker

    async def _work(self) -> None:
        try:
            while self._waiting:
                if len(self._waiting) < self._max_batch and not self._closing.is_set():
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._closing.wait(), self._linger)
                keys = list(self._waiting)[: self._max_batch]
                puts = [self._waiting.pop(key) for key in keys]
                try:
                    await self._store.put_snapshots(puts)
                except ServiceError as error:
                    _log.warning("memos not stored", extra={"count": len(puts), "reason": error.for_log})
                except Exception:
                    # A fault must neither end the writer nor make close() fail: a memo can always be rebuilt.
                    _log.exception("memos not stored", extra={"count": len(puts)})
        finally:
            self._worker = None
