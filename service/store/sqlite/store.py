"""The embedded store: one SQLite file.

It is durable at each commit and may be used by several processes at a time.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from service.core.attribution.credits import CounterPage
from service.core.errors import StoreUnavailable
from service.core.events import AppendAndRead, History, LogView, Merged, SnapshotPut
from service.store.errors import StoreRefusedError
from service.store.sqlite import event_log_sql as sql
from service.store.sqlite import user_merge
from service.store.sqlite.attribution_sql import read_counters
from service.store.sqlite.file_identity import FileIdentity
from service.store.sqlite.retention import Retention, remove_user
from service.store.sqlite.schema import open_file
from service.store.sqlite.sqlite_catalogue import SqliteCatalogue, open_sqlite_catalogue
from service.store.sqlite.transactions import Mode, TransactionThread


async def open_sqlite(url: str, events_kept: int, days_kept: int | None = None) -> SqliteStore:
    """Open or create the file that `url` names; raises `StoreRefusedError`."""
    if not url.startswith("sqlite:///") or url == "sqlite:///":
        raise StoreRefusedError("write the state URL as sqlite:///relative/path or sqlite:////absolute/path.")
    path = Path(url.removeprefix("sqlite:///"))
    # One thread for all connections: SQLite takes one writer at a time anyway, and the event loop never waits.
    executor = ThreadPoolExecutor(1, thread_name_prefix="sqlite-store")
    try:
        log, snapshots = await asyncio.get_running_loop().run_in_executor(executor, open_file, path)
    except BaseException:
        executor.shutdown(wait=False)
        raise
    thread = TransactionThread(executor, FileIdentity(path))
    try:
        catalogue = await open_sqlite_catalogue(path)
    except BaseException:
        await thread.close(snapshots, log)
        raise
    return SqliteStore(thread, log, snapshots, Retention(events_kept, days_kept), catalogue)


class SqliteStore:
    """See `service.core.ports.Store`. A batch costs at most one fsync.

    `catalogue` and `item_vectors` are in the same file.
    """

    def __init__(
        self,
        thread: TransactionThread,
        log: sqlite3.Connection,
        snapshots: sqlite3.Connection,
        retention: Retention,
        catalogue: SqliteCatalogue,
    ) -> None:
        """Use the two connections of `schema.open_file`, in the thread that opened them."""
        self.catalogue = catalogue
        self.item_vectors = catalogue.item_vectors
        self._thread = thread
        self._log = log
        self._snapshots = snapshots
        self._retention = retention

    async def append_and_read(self, requests: Sequence[AppendAndRead]) -> list[LogView | StoreUnavailable]:
        """See `Store.append_and_read`. The batch succeeds or fails as a whole."""
        mode: Mode = "IMMEDIATE" if any(request.events for request in requests) else "DEFERRED"
        try:
            views = await self._thread.run(self._log, mode, sql.append_and_read_all, requests, self._retention)
        except StoreUnavailable as error:
            return [error] * len(requests)
        return [*views]

    async def put_snapshots(self, puts: Sequence[SnapshotPut]) -> list[bool]:
        """See `Store.put_snapshots`."""
        return await self._thread.run(self._snapshots, "IMMEDIATE", sql.put_snapshots, puts)

    async def history(self, user_id: str, before: int | None, limit: int) -> History | None:
        """See `Store.history`."""
        return await self._thread.run(self._log, "DEFERRED", sql.history, user_id, before, limit)

    async def delete_event(self, user_id: str, event_id: str) -> bool:
        """See `Store.delete_event`."""
        return await self._thread.run(self._log, "IMMEDIATE", sql.delete_event, user_id, event_id)

    async def delete_user(self, user_id: str) -> int:
        """See `Store.delete_user`."""
        return await self._thread.run(self._log, "IMMEDIATE", remove_user, user_id)

    async def merge(self, user_id: str, from_user_id: str) -> Merged | None:
        """See `Store.merge`."""
        events_kept = self._retention.events_kept
        return await self._thread.run(self._log, "IMMEDIATE", user_merge.merge, user_id, from_user_id, events_kept)

    async def finish_merges(self) -> int:
        """See `Store.finish_merges`."""
        return 0  # a merge is one transaction, so none is ever left unfinished

    async def expire(self, user_ids: Sequence[str]) -> int:
        """See `Store.expire`."""
        if self._retention.days_kept is None:
            return 0
        return await self._thread.run(self._log, "IMMEDIATE", sql.expire, user_ids, self._retention)

    async def users(self, cursor: str, limit: int) -> tuple[list[str], str]:
        """See `Store.users`."""
        return await self._thread.run(self._log, "DEFERRED", sql.users, cursor, limit)

    async def attribution_counters(self, pages: Sequence[CounterPage]) -> list[tuple[dict[str, int], str]]:
        """See `CounterStore.attribution_counters`."""
        return await self._thread.run(self._log, "DEFERRED", read_counters, pages)

    async def records(self) -> dict[str, str]:
        """See `Store.records`."""
        return await self._thread.run(self._snapshots, "DEFERRED", sql.records)

    async def compare_and_set(self, name: str, expected: str | None, text: str | None) -> bool:
        """See `Store.compare_and_set`."""
        return await self._thread.run(self._snapshots, "IMMEDIATE", sql.compare_and_set, name, expected, text)

    async def ping(self) -> None:
        """See `Store.ping`."""
        await self._thread.run(self._log, "DEFERRED", sql.ping)

    async def memory_used(self) -> float | None:
        """See `Store.memory_used`. The limit is the disk, which SQLite does not know."""
        return None

    async def close(self) -> None:
        """See `Store.close`."""
        await self.catalogue.close()
        await self._thread.close(self._snapshots, self._log)
