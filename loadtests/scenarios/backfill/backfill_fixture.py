"""Store and service for the backfill scenario."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtests.environment.servers import RedisServer, RedisSettings, Server, recblr_server, redis_server
from loadtests.generator.http_client import request_json


@dataclass(frozen=True, slots=True)
class BackfillOptions:
    """Options of the command line; `loadtests.scenarios.backfill.backfill_scenario` describes each."""

    bundle: Path
    store: str
    fsync: str
    users: int
    events: int
    rate: float
    seeded_fraction: float
    seconds: float
    share: float
    audited: int


@dataclass(frozen=True, slots=True)
class BackfillService:
    """The service under test, its process groups, and its admin key."""

    server: Server
    process_groups: Mapping[str, int]
    key: str

    @property
    def headers(self) -> dict[str, str]:
        """Headers of an authenticated request."""
        return {"authorization": f"Bearer {self.key}"}

    def request(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Send a request that must succeed; return its JSON."""
        response: dict[str, Any] = request_json(self.server.port, method, path, body, headers=self.headers)
        return response

    def backfill_progress(self, version: str) -> dict[str, Any] | None:
        """Return the progress of a version's backfill; None before it starts."""
        backfills = self.request("GET", "/v1/admin/backfills")["backfills"]
        return next((each for each in backfills if each["model_version"] == version), None)


@contextmanager
def empty_store(options: BackfillOptions, folder: Path) -> Iterator[tuple[str, RedisServer | None]]:
    """Provide an empty store: its URL, and its Redis if any."""
    if options.store == "sqlite":
        yield f"sqlite:///{folder}/events.db", None
        return
    with redis_server(RedisSettings(options.fsync)) as redis:
        yield redis.url, redis


@contextmanager
def backfill_service(url: str, bundles: Path, share: float, redis: RedisServer | None) -> Iterator[BackfillService]:
    """Run a service of one worker.

    Args:
        url: the store.
        bundles: model registry, of which the service loads new versions.
        share: `RECBLR_BACKFILL_SHARE`.
        redis: server of the store, if any, whose CPU time is reported.
    """
    key = secrets.token_hex(16)
    settings = {"RECBLR_API_KEYS": key, "RECBLR_BACKFILL_SHARE": str(share)}
    with recblr_server(url, bundles, settings=settings) as server:
        process_groups = {"server": server.pid} | ({} if redis is None else {"store": redis.pid})
        yield BackfillService(server, process_groups, key)
