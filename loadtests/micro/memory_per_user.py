"""Bytes per user in Redis and SQLite, by number of events.

    python -m loadtests.micro.memory_per_user [--sizes 10 60 200 1000] [--bundle FOLDER]

Prints a table, and JSON in the last line. Each size is measured with and without event ids, and with and without a
snapshot. The service's own store writes the logs, its own engine computes the snapshots.

- Redis: growth of `used_memory`, which includes the shard streams and the allocator's overhead. `redis_own_keys` is
  the `MEMORY USAGE` of a user's own keys, snapshot included.
- SQLite: growth of the file, less free pages.

Item ids are the bundle's, user ids have 11 characters, and event ids are UUIDs of 36.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import statistics
import tempfile
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from redis import Redis

from loadtests.environment.machine_info import machine_info
from loadtests.environment.servers import DEMO_BUNDLE, RedisSettings, redis_server
from model.bundle.bundle import Bundle, load_bundle
from service.core.engine_requests import EngineRequest, EngineResult
from service.core.events import AppendAndRead, NewEvent, SnapshotPut
from service.core.ports import Store
from service.core.recommending.log_replay.snapshots import Snapshot, encode_snapshot
from service.engine.cpu.cpu_engine import CpuEngine
from service.store.factory import open_store

EVENTS_KEPT = 100_000
# Enough that fixed costs, such as the 64 streams, are small beside the users.
MIN_USERS, MIN_EVENTS = 200, 20_000
_USERS_OF_MEMORY_USAGE = 20


class SeededUsers:
    """Users with histories of one length, to be written to a store."""

    def __init__(self, bundle: Bundle, users: int, events: int, with_event_ids: bool) -> None:
        self._engine = CpuEngine(bundle, EVENTS_KEPT)
        names = [item.item_id for item in bundle.items]
        rng = np.random.default_rng(events)
        self._events = events
        self._with_event_ids = with_event_ids
        self.histories = {
            f"user-{n:06}": tuple(names[item] for item in rng.integers(0, len(names), events)) for n in range(users)
        }

    async def append(self, store: Store) -> None:
        """Append all events, one user at a time."""
        for user_id, items in self.histories.items():
            events = tuple(
                NewEvent.create(item, 1.7e9 + 60.0 * n, str(uuid.uuid4()) if self._with_event_ids else None, 0.0)
                for n, item in enumerate(items)
            )
            await store.append_and_read([AppendAndRead(user_id, None, events)])

    async def put_snapshots(self, store: Store) -> None:
        """Write a snapshot of each user's whole history."""
        version = self._engine.version
        for user_id, items in self.histories.items():
            [result] = self._engine.run([EngineRequest(None, items, None)])
            [view] = await store.append_and_read([AppendAndRead(user_id, version)])
            if not isinstance(result, EngineResult) or isinstance(view, Exception):
                raise RuntimeError(f"cannot compute a snapshot: user_id={user_id}")
            blob = encode_snapshot(Snapshot(self._events, 0, result.state), user_id, version)
            await store.put_snapshots([SnapshotPut(user_id, view.generation, version, self._events, blob)])


async def bytes_per_user(store: Store, users: SeededUsers, used_bytes: Callable[[], float]) -> tuple[int, int]:
    """Return bytes per user of the log, and of log and snapshot.

    Closes the store.
    """
    empty = used_bytes()
    await users.append(store)
    with_log = used_bytes()
    await users.put_snapshots(store)
    with_both = used_bytes()
    await store.close()
    count = len(users.histories)
    return round((with_log - empty) / count), round((with_both - empty) / count)


def measure_redis(users: SeededUsers) -> dict[str, int]:
    """Return bytes per user in a new Redis."""
    with redis_server(RedisSettings("no")) as server, Redis(port=server.port) as client:

        async def run() -> tuple[int, int]:
            store = await open_store(server.url, EVENTS_KEPT)
            return await bytes_per_user(store, users, lambda: client.info("memory")["used_memory"])

        log, both = asyncio.run(run())
        own_keys = statistics.mean(
            sum(client.memory_usage(key, samples=0) for key in client.scan_iter(match=f"*:{user_id}", count=10_000))
            for user_id in list(users.histories)[:_USERS_OF_MEMORY_USAGE]
        )
    return {"redis_log": log, "redis_log_and_snapshot": both, "redis_own_keys": round(own_keys)}


def measure_sqlite(users: SeededUsers) -> dict[str, int]:
    """Return bytes per user in a new SQLite file."""
    with tempfile.TemporaryDirectory(prefix="loadtest-memory-") as folder:
        path = Path(folder) / "log.db"

        async def run() -> tuple[int, int]:
            store = await open_store(f"sqlite:///{path}", EVENTS_KEPT)
            return await bytes_per_user(store, users, lambda: _bytes_in_use(path))

        log, both = asyncio.run(run())
    return {"sqlite_log": log, "sqlite_log_and_snapshot": both}


def _bytes_in_use(path: Path) -> float:
    with closing(sqlite3.connect(path)) as db:
        [[count]], [[size]], [[free]] = (
            db.execute(f"PRAGMA {name}") for name in ("page_count", "page_size", "freelist_count")
        )
    return float((count - free) * size)


def measure(bundle: Bundle, sizes: Sequence[int]) -> list[dict[str, Any]]:
    """Measure each number of events, with and without event ids.

    Prints each row as soon as it is measured.
    """
    rows = []
    for events in sizes:
        count = max(MIN_USERS, MIN_EVENTS // events)
        for with_event_ids in (False, True):
            users = SeededUsers(bundle, count, events, with_event_ids)
            row: dict[str, Any] = {"events": events, "event_ids": with_event_ids, "users": count}
            rows.append(row | measure_redis(users) | measure_sqlite(users))
            print("  ".join(f"{name} {value:,}" for name, value in rows[-1].items()), flush=True)
    return rows


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 60, 200, 1000], help="events of each user")
    parser.add_argument("--bundle", type=Path, default=DEMO_BUNDLE, help="the model that computes snapshots")
    arguments = parser.parse_args()
    rows = measure(load_bundle(arguments.bundle), arguments.sizes)
    print(json.dumps({"rows": rows, "machine": machine_info()}))


if __name__ == "__main__":
    main()
