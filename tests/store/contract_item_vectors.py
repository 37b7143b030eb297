"""Contract of every store: vectors of new items."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from service.core.new_items.vector_store import (
    START,
    TOKEN_CHARACTERS,
    ItemVectorStore,
    VectorEntry,
    VectorPage,
    VectorPosition,
)
from service.store.factory import OpenedStore
from tests.store.backends import Backend
from tests.store.contract_catalogue import ODD_IDS

V1, V2 = "20261128T052316Z-3cf3d5d7", "x:user:{1}"


def vector(number: int, size: int = 16) -> bytes:
    return bytes([number % 256]) * size


async def read_all(store: ItemVectorStore, version: str = V1) -> list[VectorEntry]:
    found: list[VectorEntry] = []
    while True:
        page = await store.read(version, found[-1].position if found else START, 100)
        assert page is not None
        found += page.entries
        if not page.more:
            return found


async def append(store: ItemVectorStore, *item_ids: str, version: str = V1) -> Sequence[VectorEntry]:
    return await store.append(version, [(item_id, vector(n)) for n, item_id in enumerate(item_ids)])


class ItemVectorsContract:
    async def test_version_without_vectors_has_an_empty_list(self, vectors: ItemVectorStore) -> None:
        assert await vectors.read(V1, START, 10) == VectorPage((), False)
        assert await vectors.append(V1, []) == []
        assert await vectors.versions() == []
        await vectors.forget(V1)

    async def test_entries_are_numbered_and_read_in_order(self, vectors: ItemVectorStore) -> None:
        appended = [*await append(vectors, *ODD_IDS), *await append(vectors, "later", "last")]
        assert [entry[:3] for entry in appended] == [
            *((n, item_id, vector(n - 1)) for n, item_id in enumerate(ODD_IDS, 1)),
            (len(ODD_IDS) + 1, "later", vector(0)),
            (len(ODD_IDS) + 2, "last", vector(1)),
        ]
        assert all(len(entry.token) == TOKEN_CHARACTERS for entry in appended)
        assert await read_all(vectors) == appended
        middle = await vectors.read(V1, appended[2].position, 3)
        assert middle == VectorPage(tuple(appended[3:6]), True)
        assert await vectors.read(V1, appended[-1].position, 3) == VectorPage((), False)

    async def test_known_item_keeps_its_first_vector(self, vectors: ItemVectorStore) -> None:
        [a, b] = await append(vectors, "a", "b")
        found = await vectors.append(V1, [("b", vector(9)), ("c", vector(8)), ("a", vector(7)), ("c", vector(6))])
        assert (found[0], found[2]) == (b, a)
        assert found[1][:3] == (3, "c", vector(8)) and found[3] == found[1]
        assert await read_all(vectors) == [a, b, found[1]]

    async def test_vector_may_be_any_bytes(self, vectors: ItemVectorStore) -> None:
        [entry] = await vectors.append(V1, [("a", bytes(range(256)) * 4)])
        assert entry.vector == bytes(range(256)) * 4
        assert await read_all(vectors) == [entry]

    async def test_versions_have_separate_lists(self, vectors: ItemVectorStore) -> None:
        [first] = await append(vectors, "a")
        [second] = await append(vectors, "a", version=V2)
        assert (first.number, second.number) == (1, 1)
        assert await vectors.versions() == [V1, V2]
        await vectors.forget(V1)
        assert await vectors.versions() == [V2]
        assert await read_all(vectors) == []
        assert await read_all(vectors, V2) == [second]

    async def test_position_of_another_history_is_unknown(self, vectors: ItemVectorStore) -> None:
        before = await append(vectors, "a", "b")
        assert await vectors.read(V1, VectorPosition(2, "f" * TOKEN_CHARACTERS), 10) is None
        assert await vectors.read(V1, VectorPosition(3, before[1].token), 10) is None
        assert await vectors.read(V2, before[0].position, 10) is None
        await vectors.forget(V1)
        assert await vectors.read(V1, before[0].position, 10) is None
        again = await append(vectors, "a", "b")
        assert [entry.number for entry in again] == [1, 2]
        assert await vectors.read(V1, before[0].position, 10) is None
        assert await vectors.versions() == [V1]

    async def test_many_vectors_are_appended_and_read_in_pieces(self, vectors: ItemVectorStore) -> None:
        items = [(f"item {n}", vector(n, 2048)) for n in range(1500)]
        entries = await vectors.append(V1, items)
        assert [entry[:3] for entry in entries] == [(n, *item) for n, item in enumerate(items, 1)]
        found = START
        seen: list[VectorEntry] = []
        while True:
            page = await vectors.read(V1, found, 100_000)
            assert page is not None
            seen += page.entries
            found = page.entries[-1].position
            if not page.more:
                break
        assert seen == entries

    async def test_workers_that_append_at_the_same_time_agree(self, store: OpenedStore, backend: Backend) -> None:
        other = await backend.open()
        orders = [[f"i{n}" for n in range(300)], [f"i{n}" for n in reversed(range(200, 500))]]
        await asyncio.gather(
            *(
                append(opened.item_vectors, *order[start : start + 7])
                for opened, order in zip((store, other), orders, strict=True)
                for start in range(0, 300, 7)
            )
        )
        found = await read_all(store.item_vectors)
        assert [entry.number for entry in found] == [*range(1, 501)]
        assert {entry.item_id for entry in found} == {item for order in orders for item in order}
        assert await read_all(other.item_vectors) == found
        again = {entry.item_id: entry for entry in await append(other.item_vectors, *orders[0], *orders[1])}
        assert sorted(again.values()) == found
        await other.close()

    async def test_vectors_are_apart_from_users_and_records(self, store: OpenedStore) -> None:
        await append(store.item_vectors, "user", version=V2)
        assert await store.users("", 1000) == ([], "")
        assert await store.records() == {}
