from __future__ import annotations

import math
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from service.core.errors import StoreUnavailable
from service.core.events import AppendAndRead
from service.store.errors import StoreRefusedError
from service.store.factory import open_store
from service.store.sqlite import schema
from tests.store.backends import SqliteBackend
from tests.store.calls import append, new, put, read, sequences
from tests.store.contract import StoreContract
from tests.store.random_operations import compare_with_model

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[3]

# Appends one event after another to one user and says so; arguments: URL, the writer's name, how many.
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


def writer(url: str, name: str, number: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, url, name, str(number)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def backend(tmp_path: Path) -> SqliteBackend:
    return SqliteBackend(tmp_path / "events.db")


class TestSqlite(StoreContract):
    pass


def test_random_operations_agree_with_the_model(backend: SqliteBackend) -> None:
    compare_with_model(backend, examples=60)


async def test_processes_share_one_new_file(backend: SqliteBackend) -> None:
    writers = [writer(backend.url, f"w{n}", 15) for n in range(4)]
    said = [int(line) for process in writers for line in process.communicate(timeout=50)[0].split()]
    assert [process.returncode for process in writers] == [0] * 4
    assert sorted(said) == list(range(1, 61))
    store = await backend.open()
    assert sequences((await read(store, "u")).pending) == list(range(1, 61))
    await store.close()


async def test_what_was_acknowledged_survives_the_process(backend: SqliteBackend) -> None:
    process = writer(backend.url, "w", 100_000)
    assert process.stdout is not None
    said = [int(process.stdout.readline()) for _ in range(50)]
    process.kill()
    said += [int(line) for line in process.stdout.read().split("\n")[:-1]]
    process.wait()
    process.stdout.close()
    store = await backend.open(keep=100_000)
    log = (await read(store, "u")).pending
    assert said == list(range(1, len(said) + 1))
    assert sequences(log) == list(range(1, len(log) + 1))
    assert [e.item_id for e in log] == [f"w-{n}" for n in range(len(log))]
    assert len(log) in (len(said), len(said) + 1)  # the last may have been cut off before its answer
    again = await append(store, "u", *(new(f"w-{n}", f"w-{n}") for n in range(3)))
    assert again.sequence == len(log)
    backend.check()
    await store.close()


async def test_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = await open_store("sqlite:///events.db", 10)
    await append(store, "u", new("a"))
    await store.close()
    assert (tmp_path / "events.db").is_file()


async def test_events_have_one_order_over_all_users(backend: SqliteBackend) -> None:
    store = await backend.open()
    for n in range(6):
        await append(store, f"u{n % 3}", new(f"i{n}"))
    await store.delete_user("u2")
    await append(store, "u0", new("i6"))
    with closing(sqlite3.connect(backend.path)) as db:
        rows = db.execute("SELECT id, item_id FROM events ORDER BY id").fetchall()
    assert rows == [(1, "i0"), (2, "i1"), (4, "i3"), (5, "i4"), (7, "i6")]
    await store.close()


async def test_what_is_deleted_is_not_left_in_the_file(backend: SqliteBackend) -> None:
    store = await backend.open()
    for connection in ("_log", "_snapshots"):
        assert await store._run(
            getattr(store, connection), "DEFERRED", lambda db: db.execute("PRAGMA secure_delete").fetchone()
        ) == (1,)  # type: ignore[attr-defined]
    await append(store, "stays", new("a"))
    await append(store, "leaves", *(new(f"secret-item-{n}") for n in range(100)))
    await put(store, "leaves", 100, b"secret-memo" * 100)
    await store.close()
    assert b"secret-item-50" in backend.path.read_bytes()
    store = await backend.open()
    assert await store.delete_user("leaves") == 100
    await store.close()
    left = b"".join(file.read_bytes() for file in backend.path.parent.iterdir())
    assert b"secret" not in left and b"leaves" not in left
    backend.check()


async def test_a_lock_that_is_not_released_is_unavailability(
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
        assert len((await read(store, "u")).pending) == 1  # reading goes on
        # but not in one transaction with a write
        entries = await store.append_and_read([AppendAndRead("u", None), AppendAndRead("v", None, (new("a"),))])
        assert [type(entry) for entry in entries] == [StoreUnavailable, StoreUnavailable]
        other.execute("ROLLBACK")
    assert (await append(store, "u", new("b"))).sequence == 2
    await store.close()


async def test_a_full_disk_leaves_no_half_batch(backend: SqliteBackend) -> None:
    store = await backend.open()
    await append(store, "u", new("a", "x"))
    # As many pages as there are now: the same answer from SQLite as a disk without room.
    assert await store._run(store._log, "DEFERRED", lambda db: db.execute("PRAGMA max_page_count=1").fetchone())  # type: ignore[attr-defined]
    before = backend.contents()
    with pytest.raises(StoreUnavailable, match="full"):
        await append(store, "u", *(new("b" * 100) for _ in range(1000)))
    assert backend.contents() == before
    assert (await append(store, "u", new("a", "x"))).appended[0].sequence == 1
    backend.check()
    await store.close()


async def test_a_failure_midway_leaves_no_half_batch(backend: SqliteBackend) -> None:
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


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite://", "sqlite:///"),
        ("sqlite:///", "sqlite:///"),
        ("sqlite://host/path", "sqlite:///"),
        ("sqlite:////nonexistent/folder/events.db", "does not exist"),
        ("sqlite:////dev/null/events.db", "does not exist"),
        ("sqlite:////", "cannot be used"),
        ("postgres://me:secret@host/db", "must begin with"),
        ("redis+other://me:secret@host", "must begin with"),
        ("events.db", "must begin with"),
        ("", "must begin with"),
    ],
)
async def test_a_wrong_url_is_refused(url: str, says: str) -> None:
    with pytest.raises(StoreRefusedError, match=says) as refusal:
        await open_store(url, 10)
    assert "secret" not in str(refusal.value)


async def test_waiting_for_replicas_is_refused(backend: SqliteBackend) -> None:
    with pytest.raises(StoreRefusedError, match="no replicas"):
        await open_store(backend.url, 10, min_replicas=1)


async def test_a_limit_below_one_is_refused(backend: SqliteBackend) -> None:
    with pytest.raises(StoreRefusedError, match="at least 1"):
        await open_store(backend.url, 0)


async def test_a_folder_that_is_not_writable_is_refused(
    backend: SqliteBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(StoreRefusedError, match="not writable"):
        await backend.open()
    assert not backend.path.exists()


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("PRAGMA user_version=1", "has format 1 and this release reads 2"),
        ("PRAGMA user_version=3", "has format 3 and this release reads 2"),
        ("CREATE TABLE theirs (x)", "another program"),
    ],
)
async def test_a_file_that_is_not_ours_is_refused_and_untouched(
    backend: SqliteBackend, script: str, says: str
) -> None:
    with closing(sqlite3.connect(backend.path)) as db:
        db.execute(script)
    before = backend.path.read_bytes()
    with pytest.raises(StoreRefusedError, match=says):
        await backend.open()
    assert backend.path.read_bytes() == before


async def test_a_file_that_is_no_database_is_refused(backend: SqliteBackend) -> None:
    backend.path.write_text("these are my notes " * 100)
    with pytest.raises(StoreRefusedError, match="cannot be used"):
        await backend.open()
