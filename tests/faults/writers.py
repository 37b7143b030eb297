"""Writers that send events during a fault and record every answer."""

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

from tests.faults.client import Client, Refused, Unanswered

K = 5
PAUSE_SECONDS = 0.02  # between two attempts at an event
ACKNOWLEDGE_SECONDS = 120.0  # time limit for one event to be acknowledged


@dataclass(frozen=True, slots=True)
class Answer:
    """Recommendations for a user, at a sequence, by a version."""

    user: str
    sequence: int
    version: str
    items: tuple[tuple[str, float], ...]


class Load:
    """Writers that each post one event after the other until it is acknowledged.

    The timestamp of an event, a whole number, is its name; its event_id contains the name.

    Args:
        url: Address of the service.
        users: Users to write events of.
        items: Items to choose from.
        seed: Seed of the random choices.
        second: Another address of the service. Half of the writers use it, and duplicates go to the other address.
        writers: Number of concurrent writers.
        twice: Fraction of events sent a second time, at the same moment or after the answer.
        pause: Seconds between two events of a writer.
        named: Whether events have an event_id. Without one a retry counts twice, which the checks must notice.
        repeat: Whether events without an answer are sent again. Otherwise a writer stops when it is refused.
    """

    def __init__(
        self,
        url: str,
        users: Sequence[str],
        items: Sequence[str],
        seed: int,
        *,
        second: str | None = None,
        writers: int = 16,
        twice: float = 0.2,
        pause: float = 0.0,
        named: bool = True,
        repeat: bool = True,
    ) -> None:
        self.url, self.users, self.items = url, users, items
        self.sent: dict[int, tuple[str, str]] = {}  # name -> (user, item)
        self.acknowledged: dict[int, int] = {}  # name -> sequence
        self.unanswered: set[int] = set()  # not sent again
        self.answers: list[Answer] = []
        self.contradictions: list[str] = []  # answers that contradict others or the contract
        self.statuses: Counter[str] = Counter()  # of every request; "none" without an answer
        self.late_duplicates = 0  # events whose first acknowledgement was as a duplicate
        self.without_recommendations = 0  # events acknowledged without recommendations
        self.acknowledged_at: list[float] = []  # `time.monotonic`, in order
        self._urls = (url, second or url)
        self.durations: list[tuple[float, float]] = []  # of each 200: time sent, duration in seconds
        self.rejection_seconds: list[float] = []  # duration of each 503 in seconds
        self._dice = [random.Random(f"{seed} {writer}") for writer in range(writers)]
        self._twice, self._pause, self._named, self._repeat = twice, pause, named, repeat
        self._stop, self._another = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Load]:
        """Write inside the context; at its end each writer finishes its event."""
        async with asyncio.TaskGroup() as group:
            for writer in range(len(self._dice)):
                group.create_task(self._write(writer, None))
            try:
                yield self
            finally:
                self._stop.set()

    async def write(self, each: int) -> None:
        """Let each writer post `each` events."""
        async with asyncio.TaskGroup() as group:
            for writer in range(len(self._dice)):
                group.create_task(self._write(writer, each))

    async def acknowledged_more(self, count: int) -> None:
        """Wait until `count` more events are acknowledged."""
        target = len(self.acknowledged) + count
        async with asyncio.timeout(ACKNOWLEDGE_SECONDS):
            while len(self.acknowledged) < target:
                self._another.clear()
                await self._another.wait()

    def longest_silence(self, since: float) -> float:
        """Return the longest time without an acknowledgement after `since`."""
        moments = [since, *(moment for moment in self.acknowledged_at if moment > since)]
        return max((after - before for before, after in pairwise(moments)), default=math.inf)

    async def _write(self, writer: int, each: int | None) -> None:
        rng, own, second = self._dice[writer], Client(self._urls[writer % 2]), Client(self._urls[1 - writer % 2])
        done = 0
        while not self._stop.is_set() and done != each:
            name = 1 + writer + len(self._dice) * done
            done += 1
            self.sent[name] = rng.choice(self.users), rng.choice(self.items)
            again = rng.random() < self._twice
            if again and rng.random() < 0.5:
                ends = any(await asyncio.gather(self._post(own, name), self._post(second, name)))
            else:
                ends = await self._post(own, name) or (again and await self._post(second, name))
            if ends:
                break
            await asyncio.sleep(self._pause)
        own.close()
        second.close()

    async def _post(self, client: Client, name: int) -> bool:
        """Post an event; return whether the writer must stop."""
        user, item = self.sent[name]
        event: dict[str, object] = {"user_id": user, "item_id": item, "timestamp": name}
        if self._named:
            event["event_id"] = f"e{name}"
        async with asyncio.timeout(ACKNOWLEDGE_SECONDS):
            while True:
                started_at = time.monotonic()
                try:
                    status, body = await client.call("POST", f"/events?k={K}&exclude_seen=false", event)
                except Unanswered as error:
                    self.statuses["none"] += 1
                    if not self._repeat:
                        self.unanswered.add(name)
                        return isinstance(error, Refused)
                else:
                    self.statuses[str(status)] += 1
                    if status == 200:
                        self.durations.append((started_at, time.monotonic() - started_at))
                        self._record(name, body)
                        return False
                    if not self._repeat or status not in (429, 503):
                        self.contradictions.append(f"{status} {body}")
                        return False
                    if status == 503:
                        self.rejection_seconds.append(time.monotonic() - started_at)
                await asyncio.sleep(PAUSE_SECONDS)

    def _record(self, name: int, body: Any) -> None:
        user, sequence = self.sent[name][0], body["sequence"]
        if name not in self.acknowledged:
            self.late_duplicates += body["duplicate"]
            self.acknowledged_at.append(time.monotonic())
        if body["user_id"] != user or (self._named and self.acknowledged.setdefault(name, sequence) != sequence):
            self.contradictions.append(
                f"event {name} of {user} had sequence {self.acknowledged.get(name)}, now {body}"
            )
        self.acknowledged[name] = sequence
        self._another.set()
        found = body["recommendations"]
        if found is None:
            self.without_recommendations += 1
            return
        if found["user_id"] != user or found["sequence"] < sequence:
            self.contradictions.append(f"an answer without its event: {body}")
        items = tuple((item["item_id"], item["score"]) for item in found["items"])
        self.answers.append(Answer(user, found["sequence"], found["model_version"], items))
