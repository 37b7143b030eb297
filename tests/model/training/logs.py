"""Event logs written by the service's stores, to test their readers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pyarrow.parquet

from model.training.data.export import export_log
from model.training.data.time_split import Timeline, read_timeline
from service.core.events import AppendAndRead, NewEvent
from service.core.ports import Store
from tests.servers import RedisServer
from tests.store.backends import Backend, RedisBackend, SqliteBackend

# user, item, timestamp, sequence, event id
Row = tuple[str, str, float, int, str]


def backends(kind: str, folder: Path, redis: Callable[[], RedisServer]) -> Iterator[Backend]:
    """Yield an empty backend of the kind `sqlite` or `redis`."""
    if kind == "sqlite":
        yield SqliteBackend(folder / "events.db")
        return
    backend = RedisBackend(redis())
    with backend.client() as client:
        client.flushall()
    yield backend


def use(backend: Backend, work: Callable[[Store], Awaitable[object]], keep: int = 1000) -> None:
    """Open the store, do `work` with it and close it."""

    async def run() -> None:
        store = await backend.open(keep)
        try:
            await work(store)
        finally:
            await store.close()

    asyncio.run(run())


def append(backend: Backend, events: list[tuple[str, str, float]], keep: int = 1000, named: bool = False) -> None:
    """Append events (user, item, timestamp); `named` gives each an event id."""

    async def work(store: Store) -> None:
        for user, item, timestamp in events:
            event_id = f"id-{user}-{item}-{timestamp}" if named else None
            await store.append_and_read(
                [AppendAndRead(user, None, (NewEvent.create(item, timestamp, event_id, 0.0),))]
            )

    use(backend, work, keep)


def logged(backend: Backend, users: list[str]) -> list[Row]:
    """Return the events of these users as the store returns them, sorted."""
    rows: list[Row] = []

    async def work(store: Store) -> None:
        for user in users:
            history = await store.history(user, None, 100_000)
            rows.extend(
                (user, e.item_id, e.timestamp, e.sequence, e.event_id) for e in (history.events if history else ())
            )

    use(backend, work)
    return sorted(rows)


def exported(folder: Path) -> list[Row]:
    """Return the events of an export, in order of its parts."""
    rows: list[Row] = []
    for part in sorted(folder.glob("*.parquet")):
        table = pyarrow.parquet.read_table(part, partitioning=None)
        columns = ["user_id", "item_id", "timestamp", "sequence", "event_id"]
        assert table.column_names == [
            *columns,
            "arrived",
            "type",
            "value",
            "recommendation_id",
            "answer_version",
            "answer_position",
        ]
        rows.extend(tuple(row.values()) for row in table.select(columns).to_pylist())
    return rows


def timeline_of(folder: Path, events: list[tuple[str, str, float]]) -> Timeline:
    """Return the timeline of these events (user, item, timestamp)."""
    backend = SqliteBackend(folder / "timeline.db")
    append(backend, events)
    export_log(backend.url, folder / "timeline")
    return read_timeline(folder / "timeline")
