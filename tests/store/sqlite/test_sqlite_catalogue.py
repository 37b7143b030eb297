"""The catalogue in a SQLite file."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from service.core.catalogue_store import CATALOGUE_SHARDS, ItemWrite, Written
from service.core.errors import StoreUnavailable
from service.store.errors import StoreRefusedError
from service.store.sqlite import schema
from tests.store.backends import SqliteBackend
from tests.store.calls import append, new
from tests.store.contract_catalogue import write
from tests.store.sqlite.writers import start_writer

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[3]

# Writes items and prints the number of each acknowledged one. Arguments: URL, name of the writer, number of writes.
WRITER = """
import asyncio, sys
from service.core.catalogue_store import ItemWrite
from service.store.factory import open_store

async def main(url, name, number):
    store = await open_store(url, 10)
    for n in range(int(number)):
        [written] = await store.catalogue.write_items([ItemWrite(f"{name}-{n % 10}", b"%d" % n)])
        assert written.changed, written
        print(n, flush=True)
    await store.close()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_processes_share_the_catalogue_of_a_new_file(backend: SqliteBackend) -> None:
    writers = [start_writer(WRITER, backend.url, f"w{n}", 20) for n in range(3)]
    for process in writers:
        process.communicate(timeout=50)
        assert process.returncode == 0
    store = await backend.open()
    found = await store.catalogue.read_items([f"w{n}-{m}" for n in range(3) for m in range(10)])
    assert [item.record for item in found if item] == [b"%d" % (10 + m) for m in range(10)] * 3
    assert sum(position.revision for position in await store.catalogue.positions()) == 60  # type: ignore[union-attr]
    await store.close()


async def test_acknowledged_items_survive_kill_9(backend: SqliteBackend) -> None:
    process = start_writer(WRITER, backend.url, "w", 100_000)
    assert process.stdout is not None
    for _ in range(50):
        process.stdout.readline()
    process.kill()
    last = int(["49", *process.stdout.read().split("\n")[:-1]][-1])
    process.wait()
    process.stdout.close()
    store = await backend.open()
    [item] = await store.catalogue.read_items([f"w-{last % 10}"])
    assert item is not None and int(item.record) in (last, last + 10)
    positions = await store.catalogue.positions()
    assert sum(position.revision for position in positions) in (last + 1, last + 2)  # type: ignore[union-attr]
    backend.check()
    await store.close()


async def test_file_of_the_release_before_is_opened_with_its_events(backend: SqliteBackend) -> None:
    with closing(sqlite3.connect(backend.path)) as db:
        db.executescript(schema._SCHEMA + f"PRAGMA user_version={schema.FORMAT};")
        db.execute("INSERT INTO users VALUES ('u', 'g', 7, 0)")
        db.commit()
    store = await backend.open()
    assert (await write(store.catalogue, "a", b"one"))[:3] == (1, True, False)
    assert (await append(store, "u", new("i"))).sequence == 8
    await store.close()
    with closing(sqlite3.connect(backend.path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (schema.FORMAT,)  # workers of that release still run


async def test_catalogue_of_another_format_is_refused(backend: SqliteBackend) -> None:
    await (await backend.open()).close()
    with closing(sqlite3.connect(backend.path)) as db, db:
        db.execute("UPDATE catalogue_format SET format = 2")
    with pytest.raises(StoreRefusedError, match="catalogue in the data file has format 2 and this release reads 1"):
        await backend.open()


async def test_lock_that_is_not_released_is_unavailable_for_writes(
    backend: SqliteBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "BUSY_SECONDS", 0.1)
    store = await backend.open()
    await write(store.catalogue, "a", b"one")
    with closing(sqlite3.connect(backend.path)) as other:
        other.execute("BEGIN IMMEDIATE")
        outcomes = await store.catalogue.write_items([ItemWrite(f"i{n}", b"x") for n in range(300)])
        assert len(outcomes) == 300 and all(isinstance(outcome, StoreUnavailable) for outcome in outcomes)
        with pytest.raises(StoreUnavailable):
            await store.catalogue.set_filter("f", None, "x")
        [item] = await store.catalogue.read_items(["a"])  # reads succeed
        assert item is not None
        other.execute("ROLLBACK")
    assert (await write(store.catalogue, "b", b"one"))[:3] == (1, True, False)
    await store.close()


async def test_items_are_not_acknowledged_into_a_missing_file(backend: SqliteBackend) -> None:
    store = await backend.open()
    await write(store.catalogue, "a", b"one")
    backend.path.unlink()
    [outcome] = await store.catalogue.write_items([ItemWrite("a", b"two")])
    assert isinstance(outcome, StoreUnavailable)
    assert [type(each) for each in await store.catalogue.positions()] == [StoreUnavailable] * (CATALOGUE_SHARDS + 1)
    await store.close()


async def test_event_is_appended_while_a_large_batch_of_items_is_written(backend: SqliteBackend) -> None:
    """An append waits for one bounded transaction."""
    store = await backend.open()
    writes = [ItemWrite(f"i{n}", bytes(1000)) for n in range(20_000)]
    loading = asyncio.create_task(store.catalogue.write_items(writes))
    appended = 0
    while not loading.done():
        await append(store, "u", new("i"))
        appended += 1
    assert all(isinstance(outcome, Written) for outcome in await loading)
    assert appended > 3
    await store.close()


async def test_vectors_of_another_format_are_refused(backend: SqliteBackend) -> None:
    await (await backend.open()).close()
    with closing(sqlite3.connect(backend.path)) as db, db:
        db.execute("UPDATE item_vectors_format SET format = 2")
    with pytest.raises(StoreRefusedError, match="vectors of new items in the data file have format 2 and this"):
        await backend.open()
