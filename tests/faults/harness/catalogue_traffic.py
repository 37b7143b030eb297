"""Changes of the catalogue beside questions under filters, and their check.

Each item has one writer, which repeats a write until it is acknowledged. No two states of an item are equal, so its
n-th change in the store is the n-th state that was sent. The state of the catalogue under every revision is therefore
known, and each answer is compared with the revision that it names.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import quote

from tests.faults.harness.catalogue_states import QUESTIONS, TYPES, ItemState, Question, next_write, whole_write
from tests.faults.harness.client import Client, Refused, Unanswered

RETRY_PAUSE_SECONDS = 0.02
CONNECTIONS = 16  # that all of them lead to one worker is unlikely
REPEATED = (409, 429, 503)  # 409: an earlier try of the same change took effect in between


class Asked(NamedTuple):
    """A question and the items of its answer."""

    question: Question
    revision: str | None
    evaluated_at: int  # microseconds
    items: frozenset[str]


@dataclass
class Record:
    """Requests and answers of a traffic."""

    sent: dict[str, list[ItemState]]  # the states of each item, in order
    acknowledged: Counter[str] = field(default_factory=Counter)  # number of acknowledged states of each item
    named: list[tuple[str, int, str]] = field(
        default_factory=list
    )  # item, number of its state, revision in the answer
    asked: list[Asked] = field(default_factory=list)
    writes: Counter[str] = field(default_factory=Counter)  # by status; "none" without an answer
    questions: Counter[str] = field(default_factory=Counter)  # likewise
    lost: int = 0  # acknowledged entries that a later change did not find
    failures: list[str] = field(default_factory=list)


class CatalogueTraffic:
    """Writers that change items, and readers that ask for all allowed ones."""

    def __init__(
        self,
        url: str,
        state_url: str,
        items: Sequence[str],
        seed: int,
        *,
        second_url: str | None = None,
        writers: int = 3,
        readers: int = 2,
        pause_seconds: float = 0.02,
        retry: bool = True,
        continued: CatalogueTraffic | None = None,
    ) -> None:
        """Prepare the traffic; `running` starts it.

        Args:
            url: the service.
            state_url: its store.
            items: the items of the models.
            seed: seed of all choices.
            second_url: another address, used by every second writer and reader.
            writers: number of concurrent writers.
            readers: number of concurrent readers.
            pause_seconds: pause between two requests of each.
            retry: repeat failed requests. Otherwise a writer or reader ends when its connection is refused.
            continued: an earlier traffic on the same store, which has ended; this one has all its requests too.
        """
        self.url, self.state_url, self.items = url, state_url, items
        self.record = Record({item: [] for item in items}) if continued is None else continued.record
        self._urls = (url, second_url or url)
        self._seed, self._retry, self._pause_seconds = seed, retry, pause_seconds
        self._writers, self._readers = writers, readers
        self._stop, self._progress = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[CatalogueTraffic]:
        """Change and ask inside the context; on exit wait for acknowledgements."""
        client = Client(self.url)
        for name, kind in TYPES.items():  # questions may come before the first write
            await self._until_ok(client, "PUT", f"/attributes/{name}", {"type": kind})
        client.close()
        await self._wait_for_definitions()
        async with asyncio.TaskGroup() as group:
            for number in range(self._writers):
                group.create_task(self._write(number))
            for number in range(self._readers):
                group.create_task(self._ask(number))
            try:
                yield self
            finally:
                self._stop.set()

    async def wait_for_writes(self, count: int) -> None:
        """Wait until `count` more writes are acknowledged."""
        target = self.record.acknowledged.total() + count
        async with asyncio.timeout(120):
            while self.record.acknowledged.total() < target:
                self._progress.clear()
                await self._progress.wait()

    def figures(self) -> dict[str, object]:
        """Return the figures for the report."""
        record = self.record
        return {"catalogue_writes": record.acknowledged.total(), "questions_under_filters": len(record.asked)}

    async def _wait_for_definitions(self) -> None:
        """Wait until the workers, over some connections each, know the attributes."""
        for _ in range(CONNECTIONS):
            status = 422
            while status == 422:
                client = Client(self.url)
                body = {"history": [], "k": 1, "filter": " AND ".join(f"{name} IS NULL" for name in TYPES)}
                status, _answer = await client.call("POST", "/recommendations", body)
                client.close()

    async def _write(self, writer: int) -> None:
        rng, client = random.Random(f"{self._seed} item {writer}"), Client(self._urls[writer % 2])
        own, record = self.items[writer :: self._writers], self.record
        while not self._stop.is_set():
            item = rng.choice(own)
            states = record.sent[item]
            if record.acknowledged[item] < len(states):
                method, body = whole_write(states[-1])  # an earlier traffic ended before the acknowledgement
            else:
                state, method, body = next_write(rng, states[-1] if states else None, len(states) + 1)
                states.append(state)
            answer = await self._until_ok(client, method, f"/items/{quote(item, safe='')}", body, record.writes)
            if answer is not None and "error" in answer:  # a PATCH of an item whose PUT was acknowledged and is lost
                record.lost += 1
                method, body = whole_write(states[-1])
                answer = await self._until_ok(client, method, f"/items/{quote(item, safe='')}", body, record.writes)
            if answer is None:
                break
            record.acknowledged[item] += 1
            if answer["changed"]:
                record.named.append((item, len(states), answer["catalogue_revision"]))
            self._progress.set()
            await asyncio.sleep(self._pause_seconds)
        client.close()

    async def _ask(self, reader: int) -> None:
        rng, client = random.Random(f"{self._seed} question {reader}"), Client(self._urls[reader % 2])
        while not self._stop.is_set():
            question = rng.choice(QUESTIONS)
            body = {"history": [], "k": len(self.items), **question.body}
            answer = await self._until_ok(client, "POST", "/recommendations", body, self.record.questions)
            if answer is None:
                break
            now = round(answer.get("evaluated_at", 0) * 1e6)
            items = frozenset(item["item_id"] for item in answer["items"])
            self.record.asked.append(Asked(question, answer.get("catalogue_revision"), now, items))
            await asyncio.sleep(self._pause_seconds)
        client.close()

    async def _until_ok(
        self, client: Client, method: str, path: str, body: object, statuses: Counter[str] | None = None
    ) -> Any:
        """Repeat a request until it succeeds; None if the caller must end."""
        statuses = Counter() if statuses is None else statuses
        while True:
            try:
                status, answer = await client.call(method, path, body)
            except Unanswered as error:
                statuses["none"] += 1
                if not self._retry and isinstance(error, Refused):
                    return None
            else:
                statuses[str(status)] += 1
                if status == 200 or (status, method) == (404, "PATCH"):
                    return answer
                if status not in REPEATED:
                    self.record.failures.append(f"{method} {path}: {status} {answer}")
                    return None
            await asyncio.sleep(RETRY_PAUSE_SECONDS)
