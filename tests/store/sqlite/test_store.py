"""The store in a SQLite file."""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from service.core.errors import StoreUnavailable
from service.core.events import AppendAndRead
from service.store.factory import open_store
from service.store.sqlite import schema
from tests.store.backends import SqliteBackend
from tests.store.calls import append, new, put, read, sequences
from tests.store.contract import StoreContract
from tests.store.random_operations import compare_with_reference
from tests.store.sqlite.writers import start_writer

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[3]

# Appends events to one user and prints their sequences. Arguments: URL, name of the writer, number of events.
WRITER = """
import asyncio, sys
from service.core.events import AppendAndRead, NewEvent
from service.store.factory import open_store

async def main(url, name, number):
    store = await open_store(url, 100_000)
    for n in range(int(number)):
        event = NewEvent.create(f"{name}-{n}", None, f"{name}-{n}", 0.0)
        [view] = await store.append_and_read([AppendAndRead("u", None, (event,))])
        print(view.appended[0].sequence, flush=True)
    await store.close()

asyncio.run(main(*sys.argv[1:]))
"""


class TestSqlite(StoreContract):
    pass


def test_random_operations_agree_with_the_reference_store(backend: SqliteBackend) -> None:
    compare_with_reference(backend, examples=60)


async def test_processes_share_a_new_file(backend: SqliteBackend) -> None:
    writers = [start_writer(WRITER, backend.url, f"w{n}", 15) for n in range(4)]
    printed = [int(line) for process in writers for line in process.communicate(timeout=50)[0].split()]
    assert [process.returncode for process in writers] == [0] * 4
    assert sorted(printed) == list(range(1, 61))
    store = await backend.open()
    assert sequences((await read(store, "u")).pending) == list(range(1, 61))
    await store.close()


async def test_acknowledged_events_survive_kill_9(backend: SqliteBackend) -> None:
    process = start_writer(WRITER, backend.url, "w", 100_000)
    assert process.stdout is not None
    printed = [int(process.stdout.readline()) for _ in range(50)]
    process.kill()
    printed += [int(line) for line in process.stdout.read().split("\n")[:-1]]
    process.wait()
    process.stdout.close()
    store = await backend.open(keep=100_000)
    log = (await read(store, "u")).pending
    assert printed == list(range(1, len(printed) + 1))
    assert sequences(log) == list(range(1, len(log) + 1))
    assert [e.item_id for e in log] == [f"w-{n}" for n in range(len(log))]
    assert len(log) in (len(printed), len(printed) + 1)  # the last one may have been appended but not printed
    again = await append(store, "u", *(new(f"w-{n}", f"w-{n}") for n in range(3)))
    assert again.sequence == len(log)
    backend.check()
    await store.close()


async def test_relative_path_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = await open_store("sqlite:///events.db", 10)
    await append(store, "u", new("a"))
    await store.close()
    assert (tmp_path / "events.db").is_file()


async def test_event_rows_have_one_order_over_all_users(backend: SqliteBackend) -> None:
    store = await backend.open()
    for n in range(6):
        await append(store, f"u{n % 3}", new(f"i{n}"))
    await store.delete_user("u2")
    await append(store, "u0", new("i6"))
    with closing(sqlite3.connect(backend.path)) as db:
        rows = db.execute("SELECT id, item_id FROM events ORDER BY id").fetchall()
    assert rows == [(1, "i0"), (2, "i1"), (4, "i3"), (5, "i4"), (7, "i6")]
    await store.close()


async def test_deleted_rows_are_overwritten_in_the_file(backend: SqliteBackend) -> None:
    store = await backend.open()
    for connection in ("_log", "_snapshots"):
        assert await store._thread.run(
            getattr(store, connection), "DEFERRED", lambda db: db.execute("PRAGMA secure_delete").fetchone()
        ) == (1,)  # type: ignore[attr-defined]
    await append(store, "stays", new("a"))
    await append(store, "leaves", *(new(f"secret-item-{n}") for n in range(100)))
    await put(store, "leaves", 100, b"secret-snapshot" * 100)
    await store.close()
    assert b"secret-item-50" in backend.path.read_bytes()
    store = await backend.open()
    assert await store.delete_user("leaves") == 100
    await store.close()
    left = b"".join(file.read_bytes() for file in backend.path.parent.iterdir())
    assert b"secret" not in left and b"leaves" not in left
    backend.check()


async def test_lock_that_is_not_released_is_unavailable_for_writes(
    backend: SqliteBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "BUSY_SECONDS", 0.1)
    store = await backend.open()
    await append(store, "u", new("a"))
    with closing(sqlite3.connect(backend.path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable):
            await append(store, "u", new("b"))
        with pytest.raises(StoreUnavailable):
            await put(store, "u", 1)
        assert len((await read(store, "u")).pending) == 1  # reads succeed
        # A read in the same batch as a write fails with it.
        entries = await store.append_and_read([AppendAndRead("u", None), AppendAndRead("v", None, (new("a"),))])
        assert [type(entry) for entry in entries] == [StoreUnavailable, StoreUnavailable]
        other.execute("ROLLBACK")
    assert (await append(store, "u", new("b"))).sequence == 2
    await store.close()


async def test_full_disk_refuses_the_whole_batch(backend: SqliteBackend) -> None:
    store = await backend.open()
    await append(store, "u", new("a", "x"))
    # A page limit makes SQLite report the same error as a full disk.
    assert await store._thread.run(
        store._log, "DEFERRED", lambda db: db.execute("PRAGMA max_page_count=1").fetchone()
    )  # type: ignore[attr-defined]
    before = backend.contents()
    with pytest.raises(StoreUnavailable, match="full"):
        await append(store, "u", *(new("b" * 100) for _ in range(1000)))
    assert backend.contents() == before
    assert (await append(store, "u", new("a", "x"))).appended[0].sequence == 1
    backend.check()
    await store.close()


async def test_failure_midway_rolls_the_batch_back(backend: SqliteBackend) -> None:
    store = await backend.open()
    await append(store, "u", new("a"))
    before = backend.contents()
    with pytest.raises(sqlite3.IntegrityError):  # SQLite has no NaN
        await store.append_and_read(
            [AppendAndRead("u", None, (new("b"),)), AppendAndRead("v", None, (new("c", None, math.nan),))]
        )
    assert backend.contents() == before
    assert (await append(store, "u", new("b"))).sequence == 2
    await store.close()
