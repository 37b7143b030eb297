"""Polls a few paths during a fault and records the answers."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

import httpx

from tests.end_to_end.service import KEY

EVERY_SECONDS = 0.05


class Poll(NamedTuple):
    """One request: when it was sent (`time.monotonic`), its duration, its status."""

    sent_at: float
    seconds: float
    status: int


class Poller:
    """Polls each of `paths`; a request without an answer fails the test."""

    def __init__(self, url: str, paths: Sequence[str]) -> None:
        self._url = url
        self.polls: dict[str, list[Poll]] = {path: [] for path in paths}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Poller]:
        """Poll inside the context."""
        async with httpx.AsyncClient(base_url=self._url, headers={"X-API-Key": KEY}, timeout=30) as client:
            tasks = [asyncio.create_task(self._poll(client, path)) for path in self.polls]
            try:
                yield self
            finally:
                for task in tasks:
                    task.cancel()
                results = await asyncio.gather(*tasks, return_exceptions=True)
            for result in results:
                if not isinstance(result, asyncio.CancelledError):
                    raise result if isinstance(result, Exception) else RuntimeError(result)

    async def _poll(self, client: httpx.AsyncClient, path: str) -> None:
        while True:
            sent_at = time.monotonic()
            answer = await client.get(path)
            self.polls[path].append(Poll(sent_at, time.monotonic() - sent_at, answer.status_code))
            await asyncio.sleep(EVERY_SECONDS)

    def statuses(self, path: str) -> Counter[int]:
        """Return how often each status came."""
        return Counter(poll.status for poll in self.polls[path])

    def longest(self, path: str) -> float:
        """Return the longest duration in seconds."""
        return max(poll.seconds for poll in self.polls[path])

    async def until(self, path: str, status: int, since: float, limit: float = 30.0) -> float:
        """Wait for an answer with `status` to a request sent after `since`.

        Returns the seconds from `since` to the answer.
        """
        async with asyncio.timeout(limit):
            while True:
                for sent_at, seconds, found in self.polls[path]:
                    if sent_at >= since and found == status:
                        return sent_at + seconds - since
                await asyncio.sleep(0.01)
