"""Read the service's event log from SQLite or Redis.

The stored layout is an interface, because `model` never imports `service` (decision 0006).
`service/store/sqlite/schema.py` and `service/store/redis/layout.py` write it.

SQLite (`sqlite:///path`), one shard:

    PRAGMA user_version     2
    events                  id (one order over all users, never reused), user_id, sequence, item_id, timestamp,
                            event_id (NULL if the client gave none)
    deletions               count; 0 if there is no row

Redis (`redis://...`), 64 shards; all events of a user are in one of them:

    {n}:stream              stream in order of arrival, with the fields format (1), user, seq, item, ts,
                            event_id ("" if the client gave none)
    {n}:deletions           count; 0 if absent

A user's events are in order of `sequence`. Retention removes the oldest events and leaves no trace. Deleting an event
or a user increments the shard's count of deletions. Merging two users increments the counts of both shards, because
it removes events of both and appends some of them again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import redis

from model.training.errors import DataError

REDIS_SHARDS = 64
_SQLITE_FORMAT = 2
_STREAM_FORMAT = "1"
_READ_TIMEOUT_SECONDS = 30.0
_CONNECT_TIMEOUT_SECONDS = 5.0

# Order of the events of one shard: the id of a SQLite row, or both parts of a Redis stream id; () is before all.
Position = tuple[int, ...]


class LoggedEvent(NamedTuple):
    """One event of the log.

    An event without a client's id has the `event_id` `seq-N`, which is also the service's name for it.
    """

    user_id: str
    item_id: str
    timestamp: float
    sequence: int
    event_id: str


class EventLog(Protocol):
    """An open event log.

    Attributes:
        name: URL of the log without credentials.
        shards: number of shards. Positions of different shards cannot be compared.
    """

    name: str
    shards: int

    def deletions(self, shard: int) -> int:
        """Return how many deletions and user merges have changed the shard."""
        ...

    def newest(self, shard: int) -> Position:
        """Return the position of the last event appended, removed or not."""
        ...

    def read(self, shard: int, after: Position, limit: int) -> tuple[list[LoggedEvent], Position]:
        """Return the next events after a position, and the last one's position.

        At most `limit` events, in order.
        """
        ...


def open_log(url: str) -> AbstractContextManager[EventLog]:
    """Open the event log at `url` for reading.

    Raises:
        DataError: the URL is malformed, there is no log, or reading it fails, also later while it is open.
    """
    scheme = url.partition("://")[0]
    if scheme == "sqlite" and url.startswith("sqlite:///") and url != "sqlite:///":
        return _open_sqlite(Path(url.removeprefix("sqlite:///")).absolute())
    if scheme in ("redis", "rediss"):
        return _open_redis(url)
    # The message repeats no part of the URL, which may hold a password.
    raise DataError("the state URL must begin with sqlite:///, redis:// or rediss://")


@contextmanager
def _open_sqlite(path: Path) -> Iterator[EventLog]:
    if not path.is_file():
        raise DataError(f"there is no event log {path}; correct the state URL")
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=_READ_TIMEOUT_SECONDS)) as db:
            yield _SqliteLog(db, path)
    except sqlite3.Error as error:
        raise DataError(f"the event log {path} cannot be read: {error}") from None


@contextmanager
def _open_redis(url: str) -> Iterator[EventLog]:
    try:
        client = redis.Redis.from_url(
            url,
            socket_timeout=_READ_TIMEOUT_SECONDS,
            socket_connect_timeout=_CONNECT_TIMEOUT_SECONDS,
            decode_responses=True,
        )
    except ValueError:
        raise DataError("the Redis URL is malformed; write redis://[user:password@]host:port/0") from None
    try:
        with closing(client):
            yield _RedisLog(client)
    except (redis.RedisError, OSError) as error:
        raise DataError(f"{_name_of(client)} cannot be read: {error}") from None


class _SqliteLog:
    shards = 1

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self.name = f"sqlite:///{path}"
        self._db = db
        [found] = db.execute("PRAGMA user_version").fetchone()
        if found != _SQLITE_FORMAT:
            raise DataError(f"{path} is not an event log of format {_SQLITE_FORMAT}; correct the state URL")

    def deletions(self, shard: int) -> int:
        return self._number("SELECT count FROM deletions")

    def newest(self, shard: int) -> Position:
        return (self._number("SELECT seq FROM sqlite_sequence WHERE name = 'events'"),)

    def _number(self, query: str) -> int:
        return int((self._db.execute(query).fetchone() or (0,))[0])

    def read(self, shard: int, after: Position, limit: int) -> tuple[list[LoggedEvent], Position]:
        rows = self._db.execute(
            "SELECT id, user_id, item_id, timestamp, sequence, coalesce(event_id, 'seq-' || sequence) FROM events"
            " WHERE id > ? ORDER BY id LIMIT ?",
            (after[0] if after else 0, limit),
        ).fetchall()
        return [LoggedEvent(*row[1:]) for row in rows], (rows[-1][0],) if rows else after


class _RedisLog:
    shards = REDIS_SHARDS

    def __init__(self, client: redis.Redis) -> None:
        self.name = _name_of(client)
        self._client = client

    def deletions(self, shard: int) -> int:
        return int(cast(str | None, self._client.get(f"{{{shard}}}:deletions")) or 0)

    def newest(self, shard: int) -> Position:
        key = f"{{{shard}}}:stream"
        if not self._client.exists(key):
            return ()
        return _parse_stream_id(cast(dict[str, str], self._client.xinfo_stream(key))["last-generated-id"])

    def read(self, shard: int, after: Position, limit: int) -> tuple[list[LoggedEvent], Position]:
        start = "({}-{}".format(*after) if after else "-"
        entries = cast(
            list[tuple[str, dict[str, Any]]], self._client.xrange(f"{{{shard}}}:stream", min=start, count=limit)
        )
        for entry_id, fields in entries:
            if (found := fields.get("format")) != _STREAM_FORMAT:
                raise DataError(
                    f"entry {entry_id} of the event log has format {found}, but this release reads {_STREAM_FORMAT}"
                )
        events = [
            LoggedEvent(f["user"], f["item"], float(f["ts"]), int(f["seq"]), f["event_id"] or f"seq-{f['seq']}")
            for _, f in entries
        ]
        return events, _parse_stream_id(entries[-1][0]) if entries else after


def _parse_stream_id(stream_id: str) -> Position:
    return tuple(int(part) for part in stream_id.split("-"))


def _name_of(client: redis.Redis) -> str:
    target = client.connection_pool.connection_kwargs
    if "path" in target:
        return f"redis at {target['path']}, database {target.get('db', 0)}"
    return f"redis://{target.get('host', 'localhost')}:{target.get('port', 6379)}/{target.get('db', 0)}"
