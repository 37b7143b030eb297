"""New items that are put, viewed and edited during faults.

One writer puts the items, and repeats each write until it is acknowledged. Each user has one writer, who views new
items before and after their PUT. In the end the store's list of vectors says what every state must be.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from model.bundle.bundle import Bundle, Item
from model.content.content_encoder import ContentEncoder
from model.content.feature_keys import CATEGORY, feature_key
from model.content.feature_space import FeatureSpace
from service.core.new_items.encoder_input import ItemContent
from service.core.new_items.vector_store import START, VectorEntry
from service.store.factory import open_store
from tests.engine.extended import Vectors, new_vectors, whole_bundle
from tests.faults.harness.catalogue_traffic import CONNECTIONS, REPEATED, RETRY_PAUSE_SECONDS
from tests.faults.harness.client import Client, Unanswered
from tests.faults.harness.oracle import Oracle, logs_of
from tests.faults.harness.writers import K, ReceivedAnswer

CATEGORIES = 12
CONVERGENCE_SECONDS = 60.0  # on a busy machine; guarantees.md says a second
_TABLE = "item_embedding.weight"


@dataclass
class NewItemCheck:
    """Violations; all are 0 if the service kept its promises."""

    lost_events: int = 0  # users whose logs are not exactly what they sent
    missing: int = 0  # acknowledged items that a worker does not recommend, or that have no vector
    repeated: int = 0  # items with two entries, and entries out of order
    changed: int = 0  # vectors that are of no content that was sent
    wrong: int = 0  # answers that are not the replay with the list's vectors, or hold a deleted item
    examples: list[str] = field(default_factory=list)

    def figures(self) -> dict[str, int]:
        return {name: value for name, value in asdict(self).items() if name != "examples"}

    def clean(self) -> bool:
        return not any(self.figures().values())

    def add(self, kind: str, example: object) -> None:
        setattr(self, kind, getattr(self, kind) + 1)
        self.examples = [*self.examples, f"{kind}: {example}"][:10]


def with_categories(bundle: Bundle, seed: int) -> Bundle:
    """Return the bundle with an encoder that knows some categories."""
    vectors = new_vectors(CATEGORIES, bundle.config.dim, seed)
    keys = {feature_key(CATEGORY, "", f"c{n}").key: vector for n, vector in enumerate(vectors)}
    space = FeatureSpace({}, np.array(sorted(keys), np.uint64), [], np.zeros(0, np.float32), 1.0)
    weights = np.array([keys[key] for key in sorted(keys)], np.float32)
    return replace(bundle, content=ContentEncoder(space, weights, np.zeros(bundle.config.dim, np.float32)))


def later_bundle(bundle: Bundle, known: int, version: str, created: str) -> Bundle:
    """Return a model that was trained with the first new items too."""
    vectors = new_vectors(known, bundle.config.dim, seed=99)
    items = [*bundle.items, *(Item(item_name(n)) for n in range(known))]
    table = np.concatenate([bundle.weights[_TABLE], vectors])
    config = replace(bundle.config, items=len(items))
    weights = bundle.weights | {_TABLE: table}
    return replace(bundle, version=version, created=created, config=config, items=items, weights=weights)


def item_name(number: int) -> str:
    return f"new-{number}"


class NewItemTraffic:
    """A writer of new items, and users who view them."""

    def __init__(
        self, url: str, trained: Sequence[str], seed: int, *, users: int = 12, pause_seconds: float = 0.02
    ) -> None:
        self._url, self._trained, self._seed, self._pause_seconds = url, trained, seed, pause_seconds
        self.contents: dict[str, list[list[str]]] = {}  # categories that were sent, by item
        self.deleted: set[str] = set()
        self.sent: dict[str, list[str]] = {f"shopper{n}": [] for n in range(users)}
        self.acknowledged_items = self.repeats = 0
        self._stop, self._progress = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[NewItemTraffic]:
        """Put and view inside the context; on exit put what was viewed."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._put_items())
            for user in self.sent:
                group.create_task(self._view_items(user))
            try:
                yield self
            finally:
                self._stop.set()
        client, rng = Client(self._url), random.Random(self._seed)
        for number in range(len(self.contents), len(self.contents) + 4):  # some were viewed already
            await self._put(client, rng, item_name(number))
        client.close()

    async def wait_for_items(self, count: int) -> None:
        """Wait until `count` more items are acknowledged."""
        target = self.acknowledged_items + count
        async with asyncio.timeout(120):
            while self.acknowledged_items < target:
                self._progress.clear()
                await self._progress.wait()

    def figures(self) -> dict[str, int]:
        """Return the figures for the report."""
        events = sum(map(len, self.sent.values()))
        return {"new_items": self.acknowledged_items, "events_of_shoppers": events, "repeats": self.repeats}

    async def _put_items(self) -> None:
        rng, client = random.Random(f"{self._seed} items"), Client(self._url)
        while not self._stop.is_set():
            item_id = item_name(len(self.contents))
            await self._put(client, rng, item_id)
            if rng.random() < 0.2:  # an edit: the vector stays
                await self._put(client, rng, rng.choice(list(self.contents)))
            if rng.random() < 0.1:
                deleted = rng.choice(list(self.contents))
                self.deleted.add(deleted)
                await self._until_ok(client, "DELETE", f"/items/{deleted}")
            await asyncio.sleep(self._pause_seconds)
        client.close()

    async def _put(self, client: Client, rng: random.Random, item_id: str) -> None:
        categories = rng.sample([f"c{n}" for n in range(CATEGORIES)], rng.randint(1, 3))
        self.contents.setdefault(item_id, []).append(categories)
        await self._until_ok(client, "PUT", f"/items/{item_id}", {"categories": categories})
        self.deleted.discard(item_id)
        self.acknowledged_items += 1
        self._progress.set()

    async def _view_items(self, user: str) -> None:
        rng, client, views = random.Random(f"{self._seed} {user}"), Client(self._url), self.sent[user]
        while not self._stop.is_set():
            item_id = item_name(rng.randrange(len(self.contents) + 3)) if rng.random() < 0.7 else None
            views.append(item_id or rng.choice(self._trained))
            event = {"user_id": user, "item_id": views[-1], "event_id": f"{len(views)}", "timestamp": len(views)}
            await self._until_ok(client, "POST", f"/events?k={K}", event)
            await asyncio.sleep(self._pause_seconds)
        client.close()

    async def _until_ok(self, client: Client, method: str, path: str, body: object = None) -> Any:
        async with asyncio.timeout(120):
            while True:
                try:
                    status, answer = await client.call(method, path, body)
                except Unanswered:
                    status = 0
                if status == 200 or (status, method) == (404, "DELETE"):
                    return answer if status else None
                assert not status or status in REPEATED, f"{method} {path}: {status} {answer}"
                self.repeats += 1
                await asyncio.sleep(RETRY_PAUSE_SECONDS)

    async def check(self, state_url: str, bundle: Bundle) -> NewItemCheck:
        """Check the items and the users under the model that is served."""
        result = NewItemCheck()
        known = {item.item_id for item in bundle.items}
        wanted = {item_id for item_id in self.contents if item_id not in self.deleted}
        await self._wait_for_workers(wanted, result)
        entries = await _read_list(state_url, bundle.version)
        self._check_list(entries, bundle, wanted - known, result)
        vectors: Vectors = np.array([np.frombuffer(entry.vector, "<f4") for entry in entries], np.float32)
        vectors = vectors.reshape(-1, bundle.config.dim)
        whole = whole_bundle(bundle, vectors, [entry.item_id for entry in entries])
        oracle, shown = Oracle(whole), {item.item_id for item in whole.items} - self.deleted
        client, logs = Client(self._url), await logs_of(self._url, self.sent)
        for user, views in self.sent.items():
            if [entry.item for entry in logs[user]] != views:
                result.add("lost_events", f"{user}: {len(logs[user])} events of {len(views)}")
            status, answer = await client.read(f"/users/{user}/recommendations?k={K}&exclude_seen=false")
            assert status == 200, answer
            items = tuple((item["item_id"], item["score"]) for item in answer["items"])
            received = ReceivedAnswer(user, answer["sequence"], answer["model_version"], items)
            for wrong in oracle.wrong(views, [received], lambda _: shown):
                result.add("wrong", wrong)
        client.close()
        return result

    async def _wait_for_workers(self, wanted: set[str], result: NewItemCheck) -> None:
        """Wait until workers over some connections recommend all items."""
        candidates = sorted(wanted)
        deadline = asyncio.get_running_loop().time() + CONVERGENCE_SECONDS
        for _ in range(CONNECTIONS):
            client, missing = Client(self._url), candidates
            while missing and asyncio.get_running_loop().time() < deadline:
                ranked = await self._until_ok(client, "POST", "/users/nobody/rank", {"candidates": missing[:500]})
                eligible = {item["item_id"] for item in ranked["items"] if item["eligible"]}
                missing = [item_id for item_id in missing if item_id not in eligible]
            for item_id in missing:
                result.add("missing", f"{item_id} in a worker")
            client.close()

    def _check_list(
        self, entries: Sequence[VectorEntry], bundle: Bundle, wanted: set[str], result: NewItemCheck
    ) -> None:
        content, found = bundle.content, set[str]()
        assert content is not None
        for number, entry in enumerate(entries, start=1):
            if entry.number != number or entry.item_id in found:
                result.add("repeated", entry.item_id)
            found.add(entry.item_id)
            contents = [ItemContent(categories=categories) for categories in self.contents.get(entry.item_id, [])]
            if entry.vector not in [vector.astype("<f4").tobytes() for vector in content.encode_all(contents)[0]]:
                result.add("changed", entry.item_id)
        for item_id in wanted - found:
            result.add("missing", f"{item_id} in the list")


async def _read_list(state_url: str, version: str) -> list[VectorEntry]:
    store = await open_store(state_url, 100_000)
    entries: list[VectorEntry] = []
    more = True
    while more:
        page = await store.item_vectors.read(version, entries[-1].position if entries else START, 256)
        assert page is not None
        entries += page.entries
        more = page.more
    await store.close()
    return entries
