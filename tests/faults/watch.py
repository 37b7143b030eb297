"""Somebody who asks the same few things all the time while something is broken, and writes down what comes."""

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


class Seen(NamedTuple):
    """One answer: when it was asked for (`time.monotonic`), after how many seconds it came, its status."""

    asked: float
    seconds: float
    status: int


class Watch:
    """Asks for each of `paths`, one request after the other; a request without an answer fails the test."""

    def __init__(self, url: str, paths: Sequence[str]) -> None:
        self._url = url
        self.seen: dict[str, list[Seen]] = {path: [] for path in paths}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Watch]:
        """Watching inside."""
        async with httpx.AsyncClient(base_url=self._url, headers={"X-API-Key": KEY}, timeout=30) as client:
            asking = [asyncio.create_task(self._ask(client, path)) for path in self.seen]
            try:
                yield self
            finally:
                for task in asking:
                    task.cancel()
                ended = await asyncio.gather(*asking, return_exceptions=True)
            for end in ended:
                if not isinstance(end, asyncio.CancelledError):
                    raise end if isinstance(end, Exception) else RuntimeError(end)

    async def _ask(self, client: httpx.AsyncClient, path: str) -> None:
        while True:
            asked = time.monotonic()
            answer = await client.get(path)
            self.seen[path].append(Seen(asked, time.monotonic() - asked, answer.status_code))
            await asyncio.sleep(EVERY_SECONDS)

    def statuses(self, path: str) -> Counter[int]:
        """How often each status came."""
        return Counter(seen.status for seen in self.seen[path])

    def longest(self, path: str) -> float:
        """The most seconds that an answer took."""
        return max(seen.seconds for seen in self.seen[path])

    async def until(self, path: str, status: int, since: float, limit: float = 30.0) -> float:
        """Wait for an answer of `status` to a request made after `since`; how many seconds after `since` it came."""
        async with asyncio.timeout(limit):
            while True:
                for asked, seconds, found in self.seen[path]:
                    if asked >= since and found == status:
                        return asked + seconds - since
                await asyncio.sleep(0.01)
