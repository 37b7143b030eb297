"""Backends under test: opening a store, and looking behind it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Protocol

from redis import Redis, RedisCluster

from service.core.events import Event
from service.store.factory import OpenedStore, open_store
from service.store.redis.layout import SHARDS, decode_events, deletions_key, keys
from service.store.redis.store import TIMEOUT_SECONDS, open_redis
from tests.deployments import ClusterServers
from tests.servers import RedisServer
from tests.store.redis.lua_entry import pack_entry, unpack_entry

LONG_TIMEOUT_SECONDS = 30.0  # so that a busy machine does not fail tests that are not about time
TABLES = ("users", "events", "snapshots", "merges", "deletions", "records", "attribution")


class Backend(Protocol):
    """A backend of the contract's tests."""

    url: str

    async def open(self, keep: int = 1000, days: int | None = None) -> OpenedStore: ...

    def contents(self) -> str:
        """Everything that is stored, as text."""
        ...

    def deletions(self, user_id: str) -> int:
        """The counter of deletions that covers the user."""
        ...

    def plant_cursor(self, user_id: str, version: str, applied: int) -> None:
        """Change the sequence of a stored snapshot."""
        ...

    def make_older(self, user_id: str, seconds: float) -> None:
        """Move the arrival of the user's events back in time."""
        ...

    def check(self) -> None:
        """Fail unless all that is stored is consistent."""
        ...


class SqliteBackend:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"sqlite:///{path}"

    async def open(self, keep: int = 1000, days: int | None = None) -> OpenedStore:
        return await open_store(self.url, keep, days_kept=days)

    def contents(self) -> str:
        with closing(sqlite3.connect(self.path)) as db:
            return repr([db.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES])

    def deletions(self, user_id: str) -> int:
        with closing(sqlite3.connect(self.path)) as db:
            return int((db.execute("SELECT count FROM deletions").fetchone() or (0,))[0])

    def plant_cursor(self, user_id: str, version: str, applied: int) -> None:
        with closing(sqlite3.connect(self.path)) as db, db:
            changed = db.execute(
                "UPDATE snapshots SET applied = ? WHERE user_id = ? AND model_version = ?",
                (applied, user_id, version),
            )
            assert changed.rowcount == 1

    def make_older(self, user_id: str, seconds: float) -> None:
        with closing(sqlite3.connect(self.path)) as db, db:
            db.execute("UPDATE events SET arrived = arrived - ? WHERE user_id = ?", (seconds, user_id))

    def check(self) -> None:
        with closing(sqlite3.connect(self.path)) as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            strays = "SELECT user_id FROM {} WHERE user_id NOT IN (SELECT user_id FROM users)"
            for table in ("events", "snapshots", "merges"):
                assert db.execute(strays.format(table)).fetchall() == []


class RedisBackend:
    """A Redis server, which the store reaches at `url`."""

    def __init__(
        self, server: RedisServer, timeout: float = TIMEOUT_SECONDS, url: str | None = None, min_replicas: int = 0
    ) -> None:
        self.server = server
        self.url = url or server.url
        self._timeout = timeout
        self._min_replicas = min_replicas

    async def open(self, keep: int = 1000, days: int | None = None) -> OpenedStore:
        return await open_redis(self.url, keep, self._min_replicas, days, self._timeout)

    @contextmanager
    def client(self) -> Iterator[Any]:
        with Redis(port=self.server.port) as client:
            yield client

    @contextmanager
    def undo_as_a_failover(self) -> Iterator[None]:
        """Undo at the exit what was written inside."""
        with self.client() as client:
            replica = {key: client.dump(key) for key in client.scan_iter()}
            yield
            for key in client.scan_iter():
                client.delete(key)
            for key, value in replica.items():
                client.restore(key, 0, value)

    def contents(self) -> str:
        with self.client() as client:
            return repr([(key, _value(client, key)) for key in sorted(client.scan_iter())])

    def fields(self, user_id: str) -> dict[bytes, bytes]:
        """The fields of the user's hash."""
        with self.client() as client:
            found: dict[bytes, bytes] = client.hgetall(keys(user_id)[0])
            return found

    def deletions(self, user_id: str) -> int:
        with self.client() as client:
            return int(client.get(deletions_key(user_id)) or 0)

    def plant_cursor(self, user_id: str, version: str, applied: int) -> None:
        with self.client() as client:
            assert client.hset(keys(user_id)[0], f"a:{version}", applied) == 0

    def make_older(self, user_id: str, seconds: float) -> None:
        with self.client() as client:
            log = keys(user_id)[1]
            for index, entry in enumerate(client.lrange(log, 0, -1)):
                fields = unpack_entry(client, log, entry)
                older = fields._replace(arrived=fields.arrived - int(1000 * seconds))
                client.lset(log, index, pack_entry(client, log, older))

    def check(self) -> None:
        """Streams hold the events of the logs, hashes their ids."""
        with self.client() as client:
            logged, streamed, known_ids = set(), set(), set()
            for key in client.scan_iter(match="*:log:*"):
                user_id = key.decode().split(":", 2)[2]
                assert key.decode() == keys(user_id)[1]
                entries = client.lrange(key, 0, -1)
                for entry in entries:
                    [event], append_id = decode_events([entry])
                    logged.add((user_id, *event, append_id))
            for shard in range(SHARDS):
                for stream_id, f in client.xrange(f"{{{shard}}}:stream"):
                    sequence, event_id = int(f[b"seq"]), f[b"event_id"].decode()
                    event = Event(sequence, f[b"item"].decode(), float(f[b"ts"]), event_id or f"seq-{sequence}")
                    value = float(f[b"value"]) if b"value" in f else None
                    extras = f.get(b"type", b"").decode(), value, f.get(b"recommendation", b"").decode()
                    streamed.add((f[b"user"].decode(), *event[:4], *extras, stream_id.decode()))
                    assert f[b"format"] == b"1"
            assert streamed == logged
            for rest in ("*:detached*", "*:replaced-*"):
                assert not list(client.scan_iter(match=rest))
            for key in client.scan_iter(match="*:user:*"):
                user_id = key.decode().split(":", 2)[2]
                known_ids |= {(user_id, f[2:].decode()) for f in client.hkeys(key) if f.startswith(b"e:")}
            assert known_ids == {
                (user, event_id) for user, sequence, _, _, event_id, *_ in logged if event_id != f"seq-{sequence}"
            }


class ClusterBackend(RedisBackend):
    def __init__(self, cluster: ClusterServers, timeout: float = TIMEOUT_SECONDS, min_replicas: int = 0) -> None:
        super().__init__(cluster.nodes[0], timeout, cluster.url, min_replicas)

    @contextmanager
    def client(self) -> Iterator[Any]:
        client = RedisCluster(host="127.0.0.1", port=self.server.port)
        try:
            yield client
        finally:
            client.close()


def _value(client: Any, key: bytes) -> object:
    kind = client.type(key)
    if kind == b"hash":
        return client.hgetall(key)
    if kind == b"list":
        return client.lrange(key, 0, -1)
    if kind == b"string":
        return client.get(key)
    assert kind == b"stream", kind
    return client.xrange(key)
