"""Reader of an event log in a SQLite file."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ingest.errors import DataError
from model.training.data.event_log.logged_event import EventLog, ItemRecord, LoggedEvent, Position, answer_of

_FORMAT = 2
_CATALOGUE_FORMAT = 1
_COLUMNS = "user_id, item_id, timestamp, sequence, coalesce(event_id, 'seq-' || sequence), arrived"
_EXTRAS = ("type", "value", "recommendation_id", "credit")  # absent in files of earlier releases
_BUSY_SECONDS = 30.0
# A log in WAL mode needs files beside it, which SQLite cannot create for somebody who may only read.
_READ_ONLY_ERRORS = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)


@contextmanager
def open_sqlite_log(path: Path) -> Iterator[EventLog]:
    """Open the event log in a file; see `open_log`.

    A file in a folder that cannot be written to is read from a temporary copy, unless the service has it open.
    """
    if not path.is_file():
        raise DataError(f"there is no event log {path}; correct the state URL")
    try:
        with _connect(path) as db:
            yield _SqliteLog(db, path)
    except sqlite3.Error as error:
        raise DataError(f"the event log {path} cannot be read: {error}") from None


@contextmanager
def _connect(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(_open(path)) as db:
        try:
            db.execute("SELECT 1 FROM sqlite_schema").fetchone()  # the first read opens the files beside the log
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _READ_ONLY_ERRORS:
                raise
        else:
            yield db
            return
    with tempfile.TemporaryDirectory(prefix="recblr-log-") as folder, closing(_open(_copy(path, folder))) as db:
        yield db


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=_BUSY_SECONDS)


def _copy(path: Path, folder: str) -> Path:
    """Copy a log and what its last writer left beside it.

    Raises `DataError` if it changes meanwhile.
    """
    files = [file for file in (path, path.with_name(f"{path.name}-wal")) if file.exists()]
    before = [_state(file) for file in files]
    for file in files:
        shutil.copyfile(file, Path(folder) / file.name)
    if [_state(file) for file in files] != before:
        raise DataError(
            f"the event log {path} was written to while it was copied; run again, or allow this user to write "
            f"to the folder {path.parent}"
        )
    return Path(folder) / path.name


def _state(file: Path) -> tuple[int, int]:
    state = file.stat()
    return state.st_size, state.st_mtime_ns


class _SqliteLog:
    shards = 1

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self.name = f"sqlite:///{path}"
        self._db = db
        [found] = db.execute("PRAGMA user_version").fetchone()
        if found != _FORMAT:
            raise DataError(f"{path} is not an event log of format {_FORMAT}; correct the state URL")
        present = {name for _, name, *_ in db.execute("PRAGMA table_info(events)")}
        extras = [name if name in present else f"NULL AS {name}" for name in _EXTRAS]
        self._columns = f"id, {_COLUMNS}, {', '.join(extras)}"

    def deletions(self, shard: int) -> int:
        return self._number("SELECT count FROM deletions")

    def newest(self, shard: int) -> Position:
        return (self._number("SELECT seq FROM sqlite_sequence WHERE name = 'events'"),)

    def _number(self, query: str) -> int:
        return int((self._db.execute(query).fetchone() or (0,))[0])

    def read(self, shard: int, after: Position, limit: int) -> tuple[list[LoggedEvent], Position]:
        rows = self._db.execute(
            f"SELECT {self._columns} FROM events WHERE id > ? ORDER BY id LIMIT ?",  # noqa: S608 - our columns
            (after[0] if after else 0, limit),
        ).fetchall()
        return [LoggedEvent(*(*row[1:-1], *answer_of(row[-1]))) for row in rows], (rows[-1][0],) if rows else after

    def items(self) -> Iterator[ItemRecord]:
        if not self._number("SELECT count(*) FROM sqlite_schema WHERE name = 'catalogue_items'"):
            return  # a file of an earlier release
        if (found := self._number("SELECT format FROM catalogue_format")) not in (0, _CATALOGUE_FORMAT):
            raise DataError(f"the catalogue in {self.name} has format {found}, not {_CATALOGUE_FORMAT}")
        for row in self._db.execute("SELECT item_id, record FROM catalogue_items ORDER BY shard, item_id"):
            yield ItemRecord(*row)
