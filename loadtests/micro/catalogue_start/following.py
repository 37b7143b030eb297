"""Benchmark of following changes with a large catalogue.

    python -m loadtests.micro.catalogue_start.following [--items 1000000] [--seconds 60]

Two processes start from one snapshot of so many items, and follow a Redis in which 200 items a second are switched on
or off. Each answers 250 questions a second for the rows that twenty filters allow. Prints JSON: milliseconds from
before the write of a switch until each process has applied it, and for how long its event loop stood still.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from loadtests.environment.servers import RedisSettings, redis_server
from loadtests.micro.catalogue_start.__main__ import VERSION, Records, first_start
from loadtests.micro.filter_benchmark import FILTERS, TYPES
from service.core.catalogue.attributes import AttributeType
from service.core.catalogue.catalogue import Catalogue
from service.core.catalogue.editing.known_definitions import KnownDefinitions
from service.core.catalogue.filter_cache import NOT_CACHED
from service.core.catalogue.filter_request import FilterRequest
from service.core.catalogue_store import CATALOGUE_SHARDS, ItemWrite, ShardPosition, StoredItem
from service.core.jobs.catalogue_sync import CatalogueSync
from service.core.jobs.catalogue_upkeep import CatalogueUpkeep
from service.observability.metrics import PrometheusMeter
from service.store.column_file import ColumnFile
from service.store.factory import OpenedStore, open_store

SWITCHES_PER_SECOND, QUESTIONS_PER_SECOND = 200, 250
SWITCHED_ITEMS = 2_000
WORKERS = 2
_MARK = b'"title":"at '  # a switched item's title holds the time of its write


class TimedCatalogue(Catalogue):
    """Catalogue that notes how old each change is when it is applied."""

    def __init__(self) -> None:
        super().__init__(CATALOGUE_SHARDS)
        self.delays: list[float] = []

    def apply(
        self, shard: int, position: ShardPosition, items: Sequence[StoredItem], *, is_newest: bool = True
    ) -> None:
        """See `Catalogue.apply`."""
        super().apply(shard, position, items, is_newest=is_newest)
        now = time.time()
        for item in items:
            begin = item.record.find(_MARK)
            if begin >= 0:
                self.delays.append(now - float(item.record[begin + len(_MARK) :].split(b'"', 1)[0]))


async def follow(url: str, path: Path, count: int) -> dict[str, Any]:
    """Run one worker until its input ends; return its delays."""
    store, copy = await open_store(url, 100), TimedCatalogue()
    await copy.add_model(VERSION, [f"item-{number}" for number in range(count)])
    upkeep = CatalogueUpkeep(copy, store.catalogue, ColumnFile(path))
    known = KnownDefinitions(store.catalogue, copy.set_definitions)
    sync = CatalogueSync(store.catalogue, copy, known, PrometheusMeter().catalogue, restore=upkeep.restore)
    await sync.start()
    print("ready", flush=True)
    rng, asked = random.Random(1), 0
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    pauses: list[float] = []
    while not ended.done():
        now = time.monotonic()
        await asyncio.sleep(1 / QUESTIONS_PER_SECOND)
        pauses.append(time.monotonic() - now - 1 / QUESTIONS_PER_SECOND)
        request = FilterRequest(rng.choice(FILTERS))
        if copy.allowed_now(VERSION, request) is NOT_CACHED:
            await copy.allowed(VERSION, request)
        asked += 1
    await sync.close()
    await upkeep.close()
    await store.close()
    copy.close()
    return {
        "changes": len(copy.delays),
        "questions": asked,
        "delay_ms": _percentiles(copy.delays),
        "pause_ms": _percentiles(pauses),
    }


async def switch(store: OpenedStore, seconds: float) -> None:
    """Switch items on and off in the store."""
    records, rng, started = Records(), random.Random(2), time.monotonic()
    for number in range(int(seconds * SWITCHES_PER_SECOND)):
        await asyncio.sleep(max(0.0, started + number / SWITCHES_PER_SECOND - time.monotonic()))
        item = records.flipped(rng.randrange(SWITCHED_ITEMS), 0)
        before, _, rest = item.record.partition(b'"title":"')
        record = before + _MARK + b"%.6f" % time.time() + b'"' + rest.partition(b'"')[2]
        await store.catalogue.write_items([ItemWrite(item.item_id, record)])


def start_workers(arguments: Sequence[str]) -> list[subprocess.Popen[str]]:
    """Start the workers; return when they are ready."""
    command = [sys.executable, "-m", "loadtests.micro.catalogue_start.following", *arguments]
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(WORKERS)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    return workers


async def measure(count: int, seconds: float) -> dict[str, Any]:
    """Start the workers, switch items, and collect the figures."""
    with tempfile.TemporaryDirectory(prefix="catalogue-following-") as folder, redis_server(RedisSettings()) as redis:
        path = Path(folder) / "columns"
        # The items are in the snapshot only, as if no change of them were kept: the store needs no filling.
        await first_start(count, path, position=ShardPosition(0, ""))
        store = await open_store(redis.url, 100)
        for name, kind in TYPES.items():
            await store.catalogue.set_attribute(name, None, AttributeType(kind))
        workers = start_workers(["--items", str(count), "--worker", redis.url, str(path)])
        await switch(store, seconds)
        await asyncio.sleep(1.0)  # the last changes arrive
        await store.close()
        found = [json.loads(worker.communicate()[0]) for worker in workers]
    return {"items": count, "seconds": seconds, "workers": found}


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    return {f"p{q}": round(float(np.percentile(seconds, q)) * 1e3, 1) for q in (50, 99, 100)} if seconds else {}


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000, help="number of items")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the measurement")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        url, path = arguments.worker
        print(json.dumps(asyncio.run(follow(url, Path(path), arguments.items))))
    else:
        print(json.dumps(asyncio.run(measure(arguments.items, arguments.seconds))))


if __name__ == "__main__":
    main()
