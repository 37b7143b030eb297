"""The embedded store: one SQLite file, durable at each commit, usable by several processes at a time."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from service.core.errors import StoreUnavailable
from service.core.events import AppendAndRead, History, LogView, Merged, SnapshotPut
from service.store.errors import StoreRefusedError
from service.store.sqlite import queries, user_merge
from service.store.sqlite.retention import Retention, remove_user
from service.store.sqlite.schema import open_file

Result = TypeVar("Result")


async def open_sqlite(url: str, keep: int, days: int | None = None) -> SqliteStore:
    """The store in the file that `url` names, made if it does not exist; raises `StoreRefusedError`."""
    if not url.startswith("sqlite:///") or url == "sqlite:///":
        raise StoreRefusedError("write the state URL as sqlite:///relative/path or sqlite:////absolute/path.")
    path = Path(url.removeprefix("sqlite:///"))
    # All connections live in one thread: SQLite takes one writer at a time anyway, and the event loop never waits.
    executor = ThreadPoolExecutor(1, thread_name_prefix="sqlite-store")
    try:
        log, snapshots = await asyncio.get_running_loop().run_in_executor(executor, open_file, path)
    except BaseException:
        executor.shutdown(wait=False)
        raise
    return SqliteStore(executor, log, snapshots, Retention(keep, days))


class SqliteStore:
    """See `service.core.ports.Store`. A batch of visits is one transaction, so it costs one fsync at most."""

    def __init__(
        self,
        executor: ThreadPoolExecutor,
        log: sqlite3.Connection,
        snapshots: sqlite3.Connection,
        retention: Retention,
    ) -> None:
        self._executor = executor
        self._log = log
        self._snapshots = snapshots
        self._retention = retention

    async def append_and_read(self, requests: Sequence[AppendAndRead]) -> list[LogView | StoreUnavailable]:
        """See `Store.visit`. One transaction: it fails as a whole."""
        try:
            return [*await self._in_thread(lambda: self._append_and_read_all(requests))]
        except StoreUnavailable as error:
            return [error] * len(requests)

    async def put_snapshots(self, puts: Sequence[SnapshotPut]) -> list[bool]:
        """See `Store.put_snapshots`."""

        def work() -> list[bool]:
            with _transaction(self._snapshots, "IMMEDIATE"):
                return [queries.put_snapshot(self._snapshots, put) for put in puts]

        return await self._in_thread(work)

    async def history(self, user_id: str, before: int | None, limit: int) -> History | None:
        """See `Store.history`."""

        def work() -> History | None:
            with _transaction(self._log, "DEFERRED"):
                return queries.history(self._log, user_id, before, limit)

        return await self._in_thread(work)

    async def delete_event(self, user_id: str, event_id: str) -> bool:
        """See `Store.delete_event`."""

        def work() -> bool:
            with _transaction(self._log, "IMMEDIATE"):
                return queries.delete_event(self._log, user_id, event_id)

        return await self._in_thread(work)

    async def delete_user(self, user_id: str) -> int:
        """See `Store.delete_user`."""

        def work() -> int:
            with _transaction(self._log, "IMMEDIATE"):
                return remove_user(self._log, user_id)

        return await self._in_thread(work)

    async def merge(self, user_id: str, from_user_id: str) -> Merged | None:
        """See `Store.merge`. One transaction."""

        def work() -> Merged | None:
            with _transaction(self._log, "IMMEDIATE"):
                return user_merge.merge(self._log, user_id, from_user_id, self._retention.keep)

        return await self._in_thread(work)

    async def finish_merges(self) -> int:
        """See `Store.finish_merges`. None is ever cut off."""
        return 0

    async def expire(self, user_ids: Sequence[str]) -> int:
        """See `Store.expire`."""

        def work() -> int:
            with _transaction(self._log, "IMMEDIATE"):
                return sum(self._retention.expire(self._log, user_id) for user_id in user_ids)

        return await self._in_thread(work) if self._retention.by_age else 0

    async def users(self, cursor: str, limit: int) -> tuple[list[str], str]:
        """See `Store.users`."""
        return await self._in_thread(lambda: queries.users(self._log, cursor, limit))

    async def records(self) -> dict[str, str]:
        """See `Store.notes`."""
        return await self._in_thread(lambda: dict(self._snapshots.execute("SELECT name, text FROM notes")))

    async def compare_and_set(self, name: str, expected: str | None, text: str | None) -> bool:
        """See `Store.compare_and_set`."""

        def work() -> bool:
            with _transaction(self._snapshots, "IMMEDIATE"):
                return queries.compare_and_set(self._snapshots, name, expected, text)

        return await self._in_thread(work)

    async def ping(self) -> None:
        """See `Store.ping`."""
        await self._in_thread(lambda: self._log.execute("SELECT count(*) FROM sqlite_schema").fetchone())

    async def close(self) -> None:
        """See `Store.close`."""

        def work() -> None:
            self._snapshots.close()
            self._log.close()

        await self._in_thread(work)
        self._executor.shutdown(wait=False)

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        except sqlite3.DatabaseError as error:
            # Locked beyond the budget, full disk, failed read: these two classes. Their other subclasses are
            # faults of ours.
            if type(error) in (sqlite3.OperationalError, sqlite3.DatabaseError):
                raise StoreUnavailable(f"the event log's file did not serve: {error}") from error
            raise

    def _append_and_read_all(self, requests: Sequence[AppendAndRead]) -> list[LogView]:
        # The write lock is taken at the start: a reader that becomes a writer midway could only fail.
        appends = any(request.events for request in requests)
        with _transaction(self._log, "IMMEDIATE" if appends else "DEFERRED"):
            return [queries.append_and_read(self._log, request, self._retention) for request in requests]


@contextmanager
def _transaction(db: sqlite3.Connection, kind: str) -> Iterator[None]:
    db.execute(f"BEGIN {kind}")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
