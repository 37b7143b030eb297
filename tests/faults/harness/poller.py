"""Poll a few paths during a fault and record the answers."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

import httpx

from tests.end_to_end.service import KEY

INTERVAL_SECONDS = 0.05


class PollSample(NamedTuple):
    """One answer: time of the request (`time.monotonic`), latency, status."""

    sent_at: float
    seconds: float
    status: int


class Poller:
    """Polls each of `paths`, one request after the other.

    A request without an answer fails the test.
    """

    def __init__(self, url: str, paths: Sequence[str]) -> None:
        self._url = url
        self.samples: dict[str, list[PollSample]] = {path: [] for path in paths}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Poller]:
        """Poll inside the context."""
        async with httpx.AsyncClient(base_url=self._url, headers={"X-API-Key": KEY}, timeout=30) as client:
            tasks = [asyncio.create_task(self._poll(client, path)) for path in self.samples]
            try:
                yield self
            finally:
                for task in tasks:
                    task.cancel()
                ended = await asyncio.gather(*tasks, return_exceptions=True)
            for end in ended:
                if not isinstance(end, asyncio.CancelledError):
                    raise end if isinstance(end, Exception) else RuntimeError(end)

    async def _poll(self, client: httpx.AsyncClient, path: str) -> None:
        while True:
            sent_at = time.monotonic()
            answer = await client.get(path)
            self.samples[path].append(PollSample(sent_at, time.monotonic() - sent_at, answer.status_code))
            await asyncio.sleep(INTERVAL_SECONDS)

    def statuses(self, path: str) -> Counter[int]:
        """Return the number of answers by status."""
        return Counter(sample.status for sample in self.samples[path])

    def longest(self, path: str) -> float:
        """Return the longest latency in seconds."""
        return max(sample.seconds for sample in self.samples[path])

    async def until(self, path: str, status: int, since: float, limit: float = 30.0) -> float:
        """Wait for an answer of `status` to a request sent after `since`.

        Args:
            path: one of the polled paths.
            status: the status to wait for.
            since: `time.monotonic()`.
            limit: timeout in seconds.

        Returns:
            Seconds from `since` to that answer.
        """
        async with asyncio.timeout(limit):
            while True:
                for sample in self.samples[path]:
                    if sample.sent_at >= since and sample.status == status:
                        return sample.sent_at + sample.seconds - since
                await asyncio.sleep(0.01)
