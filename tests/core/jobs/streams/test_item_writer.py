"""Entries of a stream of items change the catalogue once in effect."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from service.api.stream_parser import ItemEntryParser
from service.core.catalogue.editing.item_editor import ItemEditor
from service.core.catalogue.editing.known_definitions import KnownDefinitions
from service.core.catalogue.items import Item
from service.core.catalogue_store import ItemWrite, StoredItem, Written
from service.core.errors import InvalidRequest, ItemNotFound, ServiceError, StoreUnavailable
from service.core.jobs.streams.item_writer import ItemWriter
from service.core.jobs.streams.stream_source import StreamEntry
from tests.core.memory_catalogue import MemoryCatalogue

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class FaultyCatalogue(MemoryCatalogue):
    """Fails when `fault` says so of an item; remembers each item's records."""

    def __init__(self) -> None:
        super().__init__()
        self.fault: Callable[[str], Exception | None] = lambda item_id: None
        self.reads_fail = False
        self.written: list[tuple[str, bytes]] = []

    async def read_items(self, item_ids: Sequence[str]) -> list[StoredItem | None]:
        if self.reads_fail:
            raise StoreUnavailable("down")
        return await super().read_items(item_ids)

    async def write_items(self, writes: Sequence[ItemWrite]) -> list[Written | StoreUnavailable]:
        for write in writes:
            error = self.fault(write.item_id)
            if error is not None:
                raise error
        found = await super().write_items(writes)
        for write, outcome in zip(writes, found, strict=True):
            if isinstance(outcome, Written) and outcome.changed:
                self.written.append((write.item_id, write.record))
        return found


@pytest.fixture
def store() -> FaultyCatalogue:
    return FaultyCatalogue()


@pytest.fixture
def editor(store: FaultyCatalogue) -> ItemEditor:
    return ItemEditor(store, KnownDefinitions(store, list))


@pytest.fixture
def writer(editor: ItemEditor) -> ItemWriter:
    return ItemWriter(ItemEntryParser(), editor)


def entries(*texts: str) -> list[StreamEntry]:
    """Entries of texts like `patch {"item_id": "a"}`."""
    found = []
    for number, text in enumerate(texts, start=1):
        mode, _, item = text.partition(" ")
        found.append(StreamEntry(f"{number}-0", {b"mode": mode.encode(), b"item": item.encode()}))
    return found


def kinds(outcomes: Sequence[str | ServiceError]) -> list[object]:
    return [outcome if isinstance(outcome, str) else type(outcome) for outcome in outcomes]


async def test_batch_delivered_again_changes_nothing_and_shows_no_earlier_state(
    store: FaultyCatalogue, editor: ItemEditor, writer: ItemWriter
) -> None:
    batch = entries(
        'put {"item_id": "a", "available": true, "attributes": {"price": 5}}',
        'put {"item_id": "b"}',
        'patch {"item_id": "a", "available": false}',
        'delete {"item_id": "b"}',
    )
    assert kinds(await writer.write(batch)) == ["changed"] * 4
    assert [item_id for item_id, _ in store.written] == ["a", "b"]
    assert await editor.get("a") == Item("a", available=False, attributes={"price": 5.0})
    store.written.clear()
    assert kinds(await writer.write(batch)) == ["unchanged"] * 4
    assert store.written == []


async def test_invalid_and_impossible_entries_are_refused_and_the_others_applied(
    editor: ItemEditor, writer: ItemWriter
) -> None:
    await editor.delete("gone")
    outcomes = await writer.write(
        entries(
            'put {"item_id": "a", "attributes": {"price": 5}}',
            'put {"item_id": "a", "attributes": {"price": "five"}}',
            "put nonsense",
            'patch {"item_id": "gone", "available": true}',
            'patch {"item_id": "a", "title": "A"}',
        )
    )
    assert kinds(outcomes) == ["changed", InvalidRequest, InvalidRequest, ItemNotFound, "changed"]
    assert await editor.get("a") == Item("a", "A", attributes={"price": 5.0})


async def test_outage_is_the_outcome_of_all_entries(store: FaultyCatalogue, writer: ItemWriter) -> None:
    store.reads_fail = True
    outcomes = await writer.write(entries('patch {"item_id": "a"}', 'put {"item_id": "b"}'))
    assert kinds(outcomes) == [StoreUnavailable, StoreUnavailable]


async def test_faulty_item_fails_alone_with_its_later_entries(store: FaultyCatalogue, writer: ItemWriter) -> None:
    store.fault = lambda item_id: KeyError(item_id) if item_id == "bad" else None
    batch = entries(
        'put {"item_id": "a"}', 'put {"item_id": "bad"}', 'put {"item_id": "b"}', 'delete {"item_id": "bad"}'
    )
    assert kinds(await writer.write(batch)) == ["changed", ServiceError, "changed", ServiceError]
    assert [item_id for item_id, _ in store.written] == ["a", "b"]
