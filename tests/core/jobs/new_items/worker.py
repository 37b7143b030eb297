"""One worker's vectors of new items, over stores that several workers share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from service.core.catalogue.items import Item, from_record, to_record
from service.core.catalogue_store import ItemWrite
from service.core.jobs.new_items.vector_sync import VectorSync
from tests.core.fakes import FakeEncoder, FakeEngine
from tests.core.memory_catalogue import MemoryCatalogue
from tests.core.memory_item_vectors import MemoryItemVectors


class ChangeLog:
    position = 0


class Copy:
    """A copy of the catalogue that changes when a test says so."""

    def __init__(self) -> None:
        self.items = self
        self.changes = ChangeLog()
        self.log: list[str] = []
        self.forgotten = 0
        """Changes that are not known any more."""
        self.rows: dict[str, list[str]] = {}
        """New items by model version."""

    def change(self, *item_ids: str) -> None:
        self.log += item_ids
        self.changes.position = len(self.log)

    def items_since(self, position: int) -> list[str] | None:
        return None if position < self.forgotten else self.log[position:]

    async def all_items(self) -> AsyncIterator[list[str]]:
        known = list(dict.fromkeys(self.log))
        for start in range(0, len(known), 3):
            yield known[start : start + 3]

    def extend_model(self, version: str, first: int, item_ids: Sequence[str]) -> None:
        rows = self.rows.setdefault(version, [])
        del rows[first - 1 :]
        rows += item_ids


class Meter:
    def __init__(self) -> None:
        self.held: Mapping[str, int] = {}
        self.waiting = 0
        self.age_seconds = 0.0

    def item_vectors(self, held: Mapping[str, int], waiting: int, age_seconds: float) -> None:
        self.held, self.waiting, self.age_seconds = held, waiting, age_seconds


@dataclass
class Worker:
    vectors: MemoryItemVectors = field(default_factory=MemoryItemVectors)
    records: MemoryCatalogue = field(default_factory=MemoryCatalogue)
    copy: Copy = field(default_factory=Copy)
    meter: Meter = field(default_factory=Meter)
    now: float = 0.0

    def __post_init__(self) -> None:
        self.sync = VectorSync(self.vectors, self.records, self.copy, self.meter, clock=lambda: self.now)

    async def put(self, *items: Item, seen: bool = True) -> None:
        """Store items; with `seen` this worker's copy has them too."""
        await self.records.write_items([ItemWrite(item.item_id, to_record(item)) for item in items])
        if seen:
            self.copy.change(*(item.item_id for item in items))

    async def delete(self, item_id: str) -> None:
        [stored] = await self.records.read_items([item_id])
        assert stored is not None
        assert not from_record(item_id, stored.record).deleted
        await self.records.write_items([ItemWrite(item_id, to_record(Item(item_id, deleted=True)))])

    async def load(self, version: str = "v1") -> FakeEngine:
        engine = encoding_engine(version)
        await self.sync.add(engine)
        return engine

    def order(self, version: str = "v1") -> list[str]:
        return [entry.item_id for entry in self.vectors.lists.get(version, [])]


def encoding_engine(version: str = "v1") -> FakeEngine:
    engine = FakeEngine(version)
    engine.encoder = FakeEncoder()
    return engine


def titled(item_id: str, title: str = "title") -> Item:
    return Item(item_id, title)


@asynccontextmanager
async def worker() -> AsyncIterator[Worker]:
    found = Worker()
    yield found
    await found.sync.close()


@asynccontextmanager
async def workers() -> AsyncIterator[tuple[Worker, Worker]]:
    """Two workers on the same stores."""
    first = Worker()
    second = Worker(first.vectors, first.records)
    yield first, second
    for each in (first, second):
        await each.sync.close()
