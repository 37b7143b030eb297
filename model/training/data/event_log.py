"""The service's event log as others may read it: this format is an interface, for the service is never imported.

SQLite (`sqlite:///path`), one shard:

    PRAGMA user_version         2
    events                      id (one order over all users, never reused), user_id, sequence, item_id, timestamp,
                                event_id (NULL: the client gave none)
    deletions                   count; no row means 0

Redis (`redis://…`), 64 shards, a user's events all in one of them:

    {n}:stream                  a stream whose ids follow the order of arrival; fields format (1), user, seq, item,
                                ts, event_id ("": the client gave none)
    {n}:deletions               count; absent means 0

Events of a user stand in order of `sequence`. Retention removes the oldest without a trace. A deletion by a person
raises the shard's count. So does a merge of two users, in the shards of both: what stood under the one is removed,
and what that displaces under the other is removed and appended anew. `service/store/sqlite/schema.py` and
`service/store/redis/layout.py` write what is read here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import redis

from model.training.errors import DataError

REDIS_SHARDS = 64
_SQLITE_FORMAT = 2
_STREAM_FORMAT = "1"
_PATIENCE_SECONDS = 30.0

Position = tuple[int, ...]


class LoggedEvent(NamedTuple):
    """One event. `event_id` is the one by which the service deletes it: `seq-N` where the client gave none."""

    user_id: str
    item_id: str
    timestamp: float
    sequence: int
    event_id: str


class EventLog(Protocol):
    """An open log. Positions order a shard's events and mean nothing between shards; () stands before all."""

    name: str  # which log this is, without credentials
    shards: int

    def deletions(self, shard: int) -> int:
        """How often an event or a user of the shard was deleted, or a user merged."""
        ...

    def newest(self, shard: int) -> Position:
        """The position last given out, whether or not its event still stands."""
        ...

    def read(self, shard: int, after: Position, limit: int) -> tuple[list[LoggedEvent], Position]:
        """At most `limit` events after a position, in order, and the position of the last of them."""
        ...


@contextmanager
def open_log(url: str) -> Iterator[EventLog]:
    """The log at `url`, to be read only; raises `DataError`, also for what fails while it is open."""
    scheme = url.partition("://")[0]
    if scheme == "sqlite" and url.startswith("sqlite:///") and url != "sqlite:///":
        path = Path(url.removeprefix("sqlite:///")).absolute()
        if not path.is_file():
            raise DataError(f"there is no event log {path}; correct the state URL")
        try:
            with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=_PATIENCE_SECONDS)) as db:
                yield _Sqlite(db, path)
        except sqlite3.Error as error:
            raise DataError(f"the event log {path} cannot be read: {error}") from None
    elif scheme in ("redis", "rediss"):
        try:
            client = redis.Redis.from_url(
                url, socket_timeout=_PATIENCE_SECONDS, socket_connect_timeout=5.0, decode_responses=True
            )
        except ValueError:
            raise DataError("the Redis URL is malformed; write redis://[user:password@]host:port/0") from None
        try:
            with closing(client):
                yield _Redis(client)
        except (redis.RedisError, OSError) as error:
            raise DataError(f"{_place(client)} cannot be read: {error}") from None
    else:  # the rest of the URL may hold a password, so no part of it is repeated
        raise DataError("the state URL must begin with sqlite:///, redis:// or rediss://")


class _Sqlite:
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


class _Redis:
    shards = REDIS_SHARDS

    def __init__(self, client: redis.Redis) -> None:
        self.name = _place(client)
        self._client = client

    def deletions(self, shard: int) -> int:
        return int(cast(str | None, self._client.get(f"{{{shard}}}:deletions")) or 0)

    def newest(self, shard: int) -> Position:
        key = f"{{{shard}}}:stream"
        if not self._client.exists(key):
            return ()
        return _position(cast(dict[str, str], self._client.xinfo_stream(key))["last-generated-id"])

    def read(self, shard: int, after: Position, limit: int) -> tuple[list[LoggedEvent], Position]:
        start = "({}-{}".format(*after) if after else "-"
        entries = cast(
            list[tuple[str, dict[str, Any]]], self._client.xrange(f"{{{shard}}}:stream", min=start, count=limit)
        )
        for entry_id, f in entries:
            if (found := f.get("format")) != _STREAM_FORMAT:
                raise DataError(
                    f"entry {entry_id} of the event log has format {found}, and this release reads {_STREAM_FORMAT}"
                )
        events = [
            LoggedEvent(f["user"], f["item"], float(f["ts"]), int(f["seq"]), f["event_id"] or f"seq-{f['seq']}")
            for _, f in entries
        ]
        return events, _position(entries[-1][0]) if entries else after


def _position(stream_id: str) -> Position:
    return tuple(int(part) for part in stream_id.split("-"))


def _place(client: redis.Redis) -> str:
    target = client.connection_pool.connection_kwargs
    if "path" in target:
        return f"redis at {target['path']}, database {target.get('db', 0)}"
    return f"redis://{target.get('host', 'localhost')}:{target.get('port', 6379)}/{target.get('db', 0)}"
