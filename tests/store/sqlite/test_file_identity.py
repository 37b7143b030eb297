"""A data file that is moved, removed or replaced is noticed."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import pytest

from service.core.errors import StoreUnavailable
from service.core.ports import Store
from service.store.factory import open_store
from tests.store.calls import append, new, read

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data" / "events.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[Store]:
    store = await open_store(f"sqlite:///{path}", 100)
    await append(store, "ann", new("i1"))
    yield store
    await store.close()


def remove(path: Path) -> None:
    path.unlink()


def remove_log(path: Path) -> None:
    path.with_name("events.db-wal").unlink()


def move_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("moved"))


def replace(path: Path) -> None:
    shutil.copy(path, path.with_name("copy"))
    path.with_name("copy").replace(path)


@pytest.mark.parametrize("damage", [remove, remove_log, move_folder, replace])
async def test_no_event_is_acknowledged_into_a_missing_file(
    store: Store, path: Path, damage: Callable[[Path], None]
) -> None:
    damage(path)
    with pytest.raises(StoreUnavailable, match="gone") as refused:
        await append(store, "ann", new("i2"))
    assert str(path) in refused.value.for_log
    with pytest.raises(StoreUnavailable):
        await store.ping()
    with pytest.raises(StoreUnavailable):
        await read(store, "ann")


async def test_file_that_is_moved_back_is_used_again(store: Store, path: Path) -> None:
    for name in ("events.db", "events.db-wal", "events.db-shm"):
        path.with_name(name).rename(path.with_name(f"moved-{name}"))
    with pytest.raises(StoreUnavailable):
        await append(store, "ann", new("i2"))
    for name in ("events.db", "events.db-wal", "events.db-shm"):
        path.with_name(f"moved-{name}").rename(path.with_name(name))
    await store.ping()
    assert (await append(store, "ann", new("i3"))).sequence == 2


async def test_file_is_not_noticed_as_replaced_while_others_open_and_checkpoint_it(store: Store, path: Path) -> None:
    for sequence in (2, 3):
        other = await open_store(f"sqlite:///{path}", 100)
        await append(other, "bob", new("i1"))
        await other.close()
        with closing(sqlite3.connect(path)) as reader:
            reader.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert (await append(store, "ann", new(f"i{sequence}"))).sequence == sequence


async def test_files_are_readable_by_their_owner_only(store: Store, path: Path) -> None:
    modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert modes == {"events.db": 0o600, "events.db-wal": 0o600, "events.db-shm": 0o600}
