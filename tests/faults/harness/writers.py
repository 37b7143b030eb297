"""Writers that load the service and record all its answers."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tests.faults.harness.client import Client, Refused, Unanswered

K = 5
RETRY_PAUSE_SECONDS = 0.02
TIMEOUT_SECONDS = 120.0  # until an event is acknowledged, with all its retries


@dataclass(frozen=True, slots=True)
class ReceivedAnswer:
    """Recommendations as received.

    User, sequence, model version, (item, score) pairs, revision of the catalogue.
    """

    user: str
    sequence: int
    version: str
    items: tuple[tuple[str, float], ...]
    revision: str | None = None


class Load:
    """Concurrent writers that post events and retry each until it is acknowledged.

    Each event has a number, which is its timestamp and part of its event id.
    """

    def __init__(
        self,
        url: str,
        users: Sequence[str],
        items: Sequence[str],
        seed: int,
        *,
        second_url: str | None = None,
        writers: int = 16,
        duplicate_fraction: float = 0.2,
        pause_seconds: float = 0.0,
        event_ids: bool = True,
        retry: bool = True,
    ) -> None:
        """Prepare the writers; `running` or `write` starts them.

        Args:
            url: the service.
            users: users of the events, chosen at random.
            items: items of the events, chosen at random.
            seed: seed of these choices.
            second_url: another address, used by half of the writers. Duplicates go to the other address.
            writers: number of concurrent writers.
            duplicate_fraction: fraction of events sent twice, at the same moment or after the answer.
            pause_seconds: pause of a writer between two events.
            event_ids: send event ids. Without them a retry counts twice, which tests must notice.
            retry: retry failed requests. Otherwise an event without an answer is abandoned, and a writer ends when
                its connection is refused.
        """
        self.url, self.users, self.items = url, users, items
        self.sent: dict[int, tuple[str, str]] = {}  # event number -> (user, item)
        self.acknowledged: dict[int, int] = {}  # event number -> sequence
        self.unanswered: set[int] = set()  # numbers of abandoned events
        self.answers: list[ReceivedAnswer] = []
        self.contradictions: list[str] = []  # answers that no state of the log allows
        self.statuses: Counter[str] = Counter()  # of all requests; "none" without an answer
        # Events whose first acknowledgement says "duplicate": an earlier answer was lost or overtaken.
        self.acknowledged_as_duplicate = 0
        self.without_recommendations = 0  # acknowledgements that lack the recommendations
        self.acknowledged_at: list[float] = []  # `time.monotonic()` of acknowledgements, in order
        self.latencies: list[tuple[float, float]] = []  # (time of the request, seconds) of each 200
        self.refusal_seconds: list[float] = []  # latency of each 503
        self._urls = (url, second_url or url)
        self._random = [random.Random(f"{seed} {writer}") for writer in range(writers)]
        self._duplicate_fraction, self._pause_seconds = duplicate_fraction, pause_seconds
        self._event_ids, self._retry = event_ids, retry
        self._stop, self._new_acknowledgement = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Load]:
        """Write inside the context; on exit wait for the last acknowledgements."""
        async with asyncio.TaskGroup() as group:
            for writer in range(len(self._random)):
                group.create_task(self._write(writer, None))
            try:
                yield self
            finally:
                self._stop.set()

    async def write(self, events: int) -> None:
        """Let each writer post `events` events."""
        async with asyncio.TaskGroup() as group:
            for writer in range(len(self._random)):
                group.create_task(self._write(writer, events))

    async def repeat(self, number: int) -> bool:
        """Post an acknowledged event again; return whether it is a duplicate."""
        client, sequence = Client(self.url), self.acknowledged[number]
        before = self.acknowledged_as_duplicate
        del self.acknowledged[number]
        await self._post(client, number)
        client.close()
        return self.acknowledged_as_duplicate == before + 1 and self.acknowledged[number] == sequence

    async def wait_for_acknowledged(self, count: int) -> None:
        """Wait until `count` more events are acknowledged."""
        target = len(self.acknowledged) + count
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while len(self.acknowledged) < target:
                self._new_acknowledgement.clear()
                await self._new_acknowledgement.wait()

    def longest_silence(self, since: float) -> float:
        """Return the longest time without an acknowledgement after `since`, in seconds."""
        moments = [since, *(moment for moment in self.acknowledged_at if moment > since)]
        return max((after - before for before, after in pairwise(moments)), default=math.inf)

    async def _write(self, writer: int, events: int | None) -> None:
        rng, own, other = self._random[writer], Client(self._urls[writer % 2]), Client(self._urls[1 - writer % 2])
        done = 0
        while not self._stop.is_set() and done != events:
            number = 1 + writer + len(self._random) * done
            done += 1
            self.sent[number] = rng.choice(self.users), rng.choice(self.items)
            duplicate = rng.random() < self._duplicate_fraction
            if duplicate and rng.random() < 0.5:
                refused = any(await asyncio.gather(self._post(own, number), self._post(other, number)))
            else:
                refused = await self._post(own, number) or (duplicate and await self._post(other, number))
            if refused:
                break
            await asyncio.sleep(self._pause_seconds)
        own.close()
        other.close()

    async def _post(self, client: Client, number: int) -> bool:
        """Post an event; return True if the writer must end.

        It must if the connection was refused and retries are off.
        """
        user, item = self.sent[number]
        event: dict[str, object] = {"user_id": user, "item_id": item, "timestamp": number}
        if self._event_ids:
            event["event_id"] = f"e{number}"
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while True:
                sent_at = time.monotonic()
                try:
                    status, body = await client.call("POST", f"/events?k={K}&exclude_seen=false", event)
                except Unanswered as error:
                    self.statuses["none"] += 1
                    if not self._retry:
                        self.unanswered.add(number)
                        return isinstance(error, Refused)
                else:
                    self.statuses[str(status)] += 1
                    if status == 200:
                        self.latencies.append((sent_at, time.monotonic() - sent_at))
                        self._record(number, body)
                        return False
                    if not self._retry or status not in (429, 503):
                        self.contradictions.append(f"{status} {body}")
                        return False
                    if status == 503:
                        self.refusal_seconds.append(time.monotonic() - sent_at)
                await asyncio.sleep(RETRY_PAUSE_SECONDS)

    def _record(self, number: int, body: Any) -> None:
        """Record a 200, and note what contradicts an earlier answer."""
        user, sequence = self.sent[number][0], body["sequence"]
        if number not in self.acknowledged:
            self.acknowledged_as_duplicate += body["duplicate"]
            self.acknowledged_at.append(time.monotonic())
        moved = self._event_ids and self.acknowledged.setdefault(number, sequence) != sequence
        if body["user_id"] != user or moved:
            earlier = self.acknowledged.get(number)
            self.contradictions.append(f"event {number} of {user} had sequence {earlier}, now {body}")
        self.acknowledged[number] = sequence
        self._new_acknowledgement.set()
        recommendations = body["recommendations"]
        if recommendations is None:
            self.without_recommendations += 1
            return
        if recommendations["user_id"] != user or recommendations["sequence"] < sequence:
            self.contradictions.append(f"the answer does not reflect its event: {body}")
        items = tuple((item["item_id"], item["score"]) for item in recommendations["items"])
        version = recommendations["model_version"]
        revision = recommendations.get("catalogue_revision")
        self.answers.append(ReceivedAnswer(user, recommendations["sequence"], version, items, revision))
