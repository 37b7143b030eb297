"""What a user takes: bytes in Redis and on SQLite's disk by number of events, with and without event ids and a memo.

    python -m loadtests.micro.memory_per_user [--sizes 10 60 200 1000] [--bundle FOLDER]

Prints a table, and the same as JSON in the last line. The log is written by the service's own store and the memos are
folds by its own engine. Redis' figure is what `used_memory` grew by, so that the shard streams and the allocator's
classes are in it; `MEMORY USAGE` of a user's own keys, memo included, stands beside it. SQLite's is what the file
grew by, less free pages. Item ids are the bundle's, user ids have 11 characters and event ids 36, as UUIDs have.
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

from loadtests.environment.machine_info import machine
from loadtests.environment.servers import RedisSettings, redis_server
from model.bundle.bundle import Bundle, load_bundle
from service.core.engine_requests import EngineRequest, EngineResult
from service.core.events import AppendAndRead, NewEvent, SnapshotPut
from service.core.ports import Store
from service.core.recommending.snapshots import Snapshot, encode_snapshot
from service.engine.cpu.cpu_engine import CpuEngine
from service.store.factory import open_store

DEMO = Path(__file__).parents[2] / "bundles" / "ml-1m-demo"
KEEP = 100_000
# Enough that what is there once, such as 64 streams, is little beside the users.
LEAST_USERS, LEAST_EVENTS = 200, 20_000


class Filling:
    """Users with histories of one length, in a store."""

    def __init__(self, bundle: Bundle, users: int, events: int, ids: bool) -> None:
        self._engine = CpuEngine(bundle, KEEP)
        names = [item.item_id for item in bundle.items]
        rng = np.random.default_rng(events)
        self._events = events
        self._ids = ids
        self.histories = {
            f"user-{n:06}": tuple(names[item] for item in rng.integers(0, len(names), events)) for n in range(users)
        }

    async def append(self, store: Store) -> None:
        """All events, a user at a time."""
        for user_id, items in self.histories.items():
            events = tuple(
                NewEvent.create(item, 1.7e9 + 60.0 * n, str(uuid.uuid4()) if self._ids else None, 0.0)
                for n, item in enumerate(items)
            )
            await store.append_and_read([AppendAndRead(user_id, None, events)])

    async def put_snapshots(self, store: Store) -> None:
        """A memo of the whole history for each user."""
        version = self._engine.version
        for user_id, items in self.histories.items():
            [result] = self._engine.run([EngineRequest(None, items, None)])
            [view] = await store.append_and_read([AppendAndRead(user_id, version)])
            if not isinstance(result, EngineResult) or isinstance(view, Exception):
                raise RuntimeError(f"no memo for {user_id}")
            blob = encode_snapshot(Snapshot(self._events, 0, result.state), user_id, version)
            await store.put_snapshots([SnapshotPut(user_id, view.generation, version, self._events, blob)])


async def measured(store: Store, filling: Filling, used: Callable[[], float]) -> tuple[int, int]:
    """Bytes a user of the log alone, and of the log and a memo."""
    users = len(filling.histories)
    before = used()
    await filling.append(store)
    log = used()
    await filling.put_snapshots(store)
    both = used()
    await store.close()
    return round((log - before) / users), round((both - before) / users)


def in_redis(filling: Filling) -> dict[str, int]:
    """Bytes a user in an empty Redis."""
    with redis_server(RedisSettings("no")) as server, Redis(port=server.port) as client:

        async def run() -> tuple[int, int]:
            store = await open_store(f"redis://127.0.0.1:{server.port}/0", KEEP)
            return await measured(store, filling, lambda: client.info("memory")["used_memory"])

        log, both = asyncio.run(run())
        own = statistics.mean(
            sum(client.memory_usage(key, samples=0) for key in client.scan_iter(match=f"*:{user_id}", count=10_000))
            for user_id in list(filling.histories)[:20]
        )
    return {"redis_log": log, "redis_log_and_memo": both, "redis_own_keys": round(own)}


def in_sqlite(filling: Filling) -> dict[str, int]:
    """Bytes a user in an empty SQLite file."""
    with tempfile.TemporaryDirectory(prefix="loadtest-memory-") as folder:
        path = Path(folder) / "log.db"

        async def run() -> tuple[int, int]:
            return await measured(await open_store(f"sqlite:///{path}", KEEP), filling, lambda: _pages(path))

        log, both = asyncio.run(run())
    return {"sqlite_log": log, "sqlite_log_and_memo": both}


def _pages(path: Path) -> float:
    with closing(sqlite3.connect(path)) as db:
        [[count]], [[size]], [[free]] = (
            db.execute(f"PRAGMA {name}") for name in ("page_count", "page_size", "freelist_count")
        )
    return float((count - free) * size)


def measure(bundle: Bundle, sizes: Sequence[int]) -> list[dict[str, Any]]:
    """A row for each number of events, with event ids and without."""
    rows = []
    for events in sizes:
        users = max(LEAST_USERS, LEAST_EVENTS // events)
        for ids in (False, True):
            filling = Filling(bundle, users, events, ids)
            rows.append(
                {"events": events, "event_ids": ids, "users": users, **in_redis(filling), **in_sqlite(filling)}
            )
            print("  ".join(f"{name} {value:,}" for name, value in rows[-1].items()), flush=True)
    return rows


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 60, 200, 1000], help="events of each user")
    parser.add_argument("--bundle", type=Path, default=DEMO)
    chosen = parser.parse_args()
    rows = measure(load_bundle(chosen.bundle), chosen.sizes)
    print(json.dumps({"rows": rows, "machine": machine()}))


if __name__ == "__main__":
    main()
