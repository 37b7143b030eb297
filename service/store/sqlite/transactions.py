"""Transactions on a SQLite file, in a thread of their own."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Concatenate, Literal, ParamSpec, TypeVar

from service.core.errors import StoreUnavailable
from service.store.sqlite import schema
from service.store.sqlite.file_identity import FileIdentity

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

# A transaction that may write takes the write lock at once: a reader that becomes a writer midway could only fail.
Mode = Literal["DEFERRED", "IMMEDIATE"]

LOCK_PAUSE_SECONDS = 1e-3  # between attempts to take the write lock; a commit takes about as long
_PRIMARY_CODE = 0xFF  # of SQLite's extended error codes


class TransactionThread:
    """Runs transactions one after the other, off the event loop."""

    def __init__(self, executor: ThreadPoolExecutor, identity: FileIdentity) -> None:
        """Use an executor with one thread, which has opened the connections."""
        self._executor = executor
        self._identity = identity

    async def run(
        self,
        db: sqlite3.Connection,
        mode: Mode,
        query: Callable[Concatenate[sqlite3.Connection, Arguments], Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """Run `query` in a transaction; raises `StoreUnavailable`."""

        def transaction() -> Result:
            self._identity.check()
            with _transaction(db, mode):
                result = query(db, *args, **kwargs)
            self._identity.check()  # what was committed elsewhere is not acknowledged
            return result

        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, transaction)
        except sqlite3.DatabaseError as error:
            # A lock that is not released, a full disk or a failed read raise one of these two classes; their
            # subclasses are faults of ours.
            if type(error) in (sqlite3.OperationalError, sqlite3.DatabaseError):
                raise StoreUnavailable(f"cannot read or write the SQLite file: {error}") from error
            raise

    async def close(self, *connections: sqlite3.Connection) -> None:
        """Close the connections in their thread, and end the thread."""
        loop = asyncio.get_running_loop()
        for connection in connections:
            await loop.run_in_executor(self._executor, connection.close)
        self._executor.shutdown(wait=False)


def begin(
    db: sqlite3.Connection,
    mode: Mode,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Begin a transaction; wait for another process's lock.

    SQLite's own wait sleeps for up to 100 ms at a time, and the write lock is free and taken again by others
    meanwhile (decision 0100). Raises `sqlite3.OperationalError` after BUSY_SECONDS.
    """
    if mode == "DEFERRED":  # takes no lock yet
        db.execute("BEGIN DEFERRED")
        return
    deadline = clock() + schema.BUSY_SECONDS
    db.execute("PRAGMA busy_timeout=0")
    try:
        while True:
            try:
                db.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & _PRIMARY_CODE != sqlite3.SQLITE_BUSY or clock() >= deadline:
                    raise
            sleep(LOCK_PAUSE_SECONDS)
    finally:
        db.execute(f"PRAGMA busy_timeout={int(1000 * schema.BUSY_SECONDS)}")


@contextmanager
def _transaction(db: sqlite3.Connection, mode: Mode) -> Iterator[None]:
    begin(db, mode)
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
