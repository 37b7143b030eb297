"""What `loadtests.scenarios.backfill_beside_serving` measures: a store that is filled behind the service's back, and the service."""

from __future__ import annotations

import argparse
import json
import secrets
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from loadtests.environment.servers import RedisSettings, Server, ServerFailed, free_port, http_server, redis_server
from loadtests.generator.http_client import Connection, make_request
from service.core.errors import StoreUnavailable
from service.core.events import AppendAndRead, NewEvent
from service.store.factory import open_store

FILLED_AT_ONCE = 16  # users


@dataclass(frozen=True, slots=True)
class House:
    """The service under test, its store's server if that is a process, and the key to its administration."""

    service: Server
    groups: Mapping[str, int]
    key: str

    def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """The JSON of an answer that must be 200."""
        connection = Connection(self.service.port, keep_body=True)
        connection.socket.settimeout(120)
        try:
            headers = {"authorization": f"Bearer {self.key}"}
            status, answer = connection.ask(make_request("ask", method, path, body, headers).raw)
        finally:
            connection.close()
        if status != 200:
            raise ServerFailed(f"{method} {path}: {status} {answer[:300].decode(errors='replace')}")
        found: dict[str, Any] = json.loads(answer)
        return found


@contextmanager
def store_of(arguments: argparse.Namespace, folder: Path) -> Iterator[tuple[str, Server | None]]:
    """An empty store: its URL, and its server if that is a process of its own."""
    if arguments.store == "sqlite":
        yield f"sqlite:///{folder}/events.db", None
        return
    with redis_server(RedisSettings(arguments.fsync)) as redis:
        yield f"redis://127.0.0.1:{redis.port}/0", redis


@contextmanager
def service_on(url: str, bundles: Path, share: float, redis: Server | None) -> Iterator[House]:
    """A service of one worker, ready."""
    port, key = free_port(), secrets.token_hex(16)
    environment = {
        "RECBLR_PORT": str(port),
        "RECBLR_STATE_URL": url,
        "RECBLR_BUNDLE": str(bundles),
        "RECBLR_API_KEYS": key,
        "RECBLR_BACKFILL_SHARE": str(share),
        "RECBLR_LOG_LEVEL": "warning",
    }
    with http_server("recblr", [sys.executable, "-m", "service"], environment, port, "/readyz") as server:
        groups = {"server": server.pid} | ({} if redis is None else {"store": redis.pid})
        yield House(server, groups, key)


async def fill(url: str, items: Sequence[str], users: int, events: int) -> None:
    """Append the events of users 0, 1, …; nothing is folded."""
    store = await open_store(url, max(events, 1000), 0)
    rng, now = np.random.default_rng(1), time.time()
    for start in range(0, users, FILLED_AT_ONCE):
        names = range(start, min(start + FILLED_AT_ONCE, users))
        sampled = rng.integers(0, len(items), (len(names), events)).tolist()
        requests = [
            AppendAndRead(f"stored-{user}", None, tuple(NewEvent.create(items[n], None, None, now) for n in line))
            for user, line in zip(names, sampled, strict=True)
        ]
        for view in await store.append_and_read(requests):
            if isinstance(view, StoreUnavailable):
                raise view
    await store.close()
