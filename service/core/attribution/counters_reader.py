"""Reader of the counters of attribution, shared by all requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from service.core.attribution.credits import CounterStore, ShardCounts, parse_counters

VALID_SECONDS = 1.0


class CountersReader:
    """Counters of all shards, read at most once a second.

    Args:
        store: Keeps the counters.
        clock: Monotonic seconds.
    """

    def __init__(self, store: CounterStore, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._read: asyncio.Task[list[ShardCounts]] | None = None
        self._begun_at = 0.0

    async def read(self) -> list[ShardCounts]:
        """Return the counters of each shard; raises `StoreUnavailable`."""
        now = self._clock()
        if self._read is None or (self._read.done() and (now - self._begun_at > VALID_SECONDS or self._failed())):
            self._read, self._begun_at = asyncio.create_task(self._run()), now
            self._read.add_done_callback(_retrieve)
        return await asyncio.shield(self._read)  # a client that disconnects does not cancel it for others

    def _failed(self) -> bool:
        read = self._read
        return read is not None and (read.cancelled() or read.exception() is not None)

    async def _run(self) -> list[ShardCounts]:
        shards = []
        for counters in await self._store.attribution_counters():
            shards.append(parse_counters(counters))
            await asyncio.sleep(0)  # other requests get their turn
        return shards


def _retrieve(read: asyncio.Task[list[ShardCounts]]) -> None:
    if not read.cancelled():
        read.exception()  # nobody may be waiting any more
