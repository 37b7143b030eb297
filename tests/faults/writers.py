"""Writers that load the service while it is broken, and remember every word it says."""

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
PAUSE_SECONDS = 0.02  # before what failed is tried again
PATIENCE_SECONDS = 120.0  # for one event to be acknowledged at last


@dataclass(frozen=True, slots=True)
class Told:
    """Recommendations as they came: for which user, at which sequence, by which model."""

    user: str
    sequence: int
    version: str
    items: tuple[tuple[str, float], ...]


class Load:
    """Writers, each of which posts one event after the other and repeats each until it is acknowledged.

    An event is named by its timestamp, a whole number, and its event_id is made of it. A share of the events
    (`twice`) is sent a second time, at the same moment or after the answer. Between two events a writer rests for
    `pause` seconds. With `named=False` events have no
    event_id: then repeating them counts them twice, and a test that cannot see that sees nothing. With
    `repeat=False` an event without an answer is given up, and a writer ends where nobody listens any more.
    `second` is another address of the service: half of the writers use it, and what is sent again goes to the other.
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
        self.unanswered: set[int] = set()  # given up
        self.answers: list[Told] = []
        self.contradictions: list[str] = []  # what no answer may say
        self.statuses: Counter[str] = Counter()  # of every request, "none" where no answer came
        self.seen_late = 0  # acknowledged first as a duplicate: it had counted, and the answer was lost or overtaken
        self.without_answer = 0  # acknowledged without the recommendations that were asked for
        self.acknowledged_at: list[float] = []  # times of `time.monotonic`, in order
        self._urls = (url, second or url)
        self.took: list[tuple[float, float]] = []  # of each 200: when it was sent, and the seconds until it came
        self.refused_after: list[float] = []  # seconds that each 503 took
        self._dice = [random.Random(f"{seed} {writer}") for writer in range(writers)]
        self._twice, self._pause, self._named, self._repeat = twice, pause, named, repeat
        self._stop, self._another = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Load]:
        """Under load inside; on the way out each writer's last event is acknowledged too."""
        async with asyncio.TaskGroup() as group:
            for writer in range(len(self._dice)):
                group.create_task(self._write(writer, None))
            try:
                yield self
            finally:
                self._stop.set()

    async def write(self, each: int) -> None:
        """Let each writer post so many events."""
        async with asyncio.TaskGroup() as group:
            for writer in range(len(self._dice)):
                group.create_task(self._write(writer, each))

    async def acknowledged_more(self, count: int) -> None:
        """Return once `count` more events are acknowledged."""
        wanted = len(self.acknowledged) + count
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(self.acknowledged) < wanted:
                self._another.clear()
                await self._another.wait()

    def longest_silence(self, since: float) -> float:
        """The longest time in seconds without an acknowledgement, from `since` (`time.monotonic`) on."""
        moments = [since, *(moment for moment in self.acknowledged_at if moment > since)]
        return max((after - before for before, after in pairwise(moments)), default=math.inf)

    async def _write(self, writer: int, each: int | None) -> None:
        dice, own, second = self._dice[writer], Client(self._urls[writer % 2]), Client(self._urls[1 - writer % 2])
        done = 0
        while not self._stop.is_set() and done != each:
            name = 1 + writer + len(self._dice) * done
            done += 1
            self.sent[name] = dice.choice(self.users), dice.choice(self.items)
            again = dice.random() < self._twice
            if again and dice.random() < 0.5:
                ends = any(await asyncio.gather(self._post(own, name), self._post(second, name)))
            else:
                ends = await self._post(own, name) or (again and await self._post(second, name))
            if ends:
                break
            await asyncio.sleep(self._pause)
        own.close()
        second.close()

    async def _post(self, client: Client, name: int) -> bool:
        """Whether nobody listens any more, where that is the end."""
        user, item = self.sent[name]
        event: dict[str, object] = {"user_id": user, "item_id": item, "timestamp": name}
        if self._named:
            event["event_id"] = f"e{name}"
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                began = time.monotonic()
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
                        self.took.append((began, time.monotonic() - began))
                        self._hear(name, body)
                        return False
                    if not self._repeat or status not in (429, 503):
                        self.contradictions.append(f"{status} {body}")
                        return False
                    if status == 503:
                        self.refused_after.append(time.monotonic() - began)
                await asyncio.sleep(PAUSE_SECONDS)

    def _hear(self, name: int, body: Any) -> None:
        user, sequence = self.sent[name][0], body["sequence"]
        if name not in self.acknowledged:
            self.seen_late += body["duplicate"]
            self.acknowledged_at.append(time.monotonic())
        if body["user_id"] != user or (self._named and self.acknowledged.setdefault(name, sequence) != sequence):
            self.contradictions.append(f"event {name} of {user} stood at {self.acknowledged.get(name)}, now {body}")
        self.acknowledged[name] = sequence
        self._another.set()
        found = body["recommendations"]
        if found is None:
            self.without_answer += 1
            return
        if found["user_id"] != user or found["sequence"] < sequence:
            self.contradictions.append(f"an answer that does not reflect its event: {body}")
        items = tuple((item["item_id"], item["score"]) for item in found["items"])
        self.answers.append(Told(user, found["sequence"], found["model_version"], items))
