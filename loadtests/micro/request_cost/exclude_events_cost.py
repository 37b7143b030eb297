"""Benchmark of `exclude_events`: CPU per question with it and without.

    python -m loadtests.micro.request_cost.exclude_events_cost [--items 200000]

One service on Redis answers top-10 questions of users with 100, 1,000 and 10,000 kept events, a third of which are
purchases that the question leaves out. `--items` makes a catalogue of that size. Prints JSON for each user: CPU
milliseconds of the process per question, of Redis per question, and of the longest piece of work on the event loop.
Each figure is the least of the repetitions, because other work on the machine only adds to it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import psutil
from pydantic import SecretStr

from loadtests.environment.servers import DEMO_BUNDLE, RedisSettings, redis_server
from loadtests.environment.synthetic_catalogue import write_catalogue
from model.bundle.bundle import load_bundle
from service.core.engine_requests import EventExclusion, TopK
from service.core.events import NewEvent
from service.core.recommending.recommender import Recommender
from service.main import open_services
from service.observability.metrics import PrometheusMeter
from service.settings import Settings

EVENTS, BATCH, K = (100, 1_000, 10_000), 1_000, 10
PURCHASE, EVERY = "purchase", 3  # every third event is a purchase
QUESTIONS = {
    "without": TopK(K, exclude_seen=False),
    "with": TopK(K, exclude_seen=False, exclude_events=(EventExclusion(PURCHASE, None),)),
}


def measure(bundle: Path, item_ids: Sequence[str], events: Sequence[int], repeat: int) -> list[dict[str, Any]]:
    """Return the figures of a user for each number of kept events."""
    return asyncio.run(_measure(bundle, item_ids, events, repeat))


async def _measure(bundle: Path, item_ids: Sequence[str], events: Sequence[int], repeat: int) -> list[dict[str, Any]]:
    rows = []
    async with AsyncExitStack() as stack:
        redis = stack.enter_context(redis_server(RedisSettings("no")))
        settings = Settings(state_url=SecretStr(redis.url), bundle=bundle, events_kept=max(10, *events))
        services = await stack.enter_async_context(open_services(settings, PrometheusMeter()))
        for count in events:
            user = f"user of {count}"
            await _fill(services.recommender, user, item_ids, count)
            row: dict[str, Any] = {"events": count}
            for name, query in QUESTIONS.items():
                row[name] = await _cost(services.recommender, user, query, redis.pid, repeat)
            rows.append(row)
    return rows


async def _fill(recommender: Recommender, user: str, item_ids: Sequence[str], count: int) -> None:
    choice = random.Random(1)
    for first in range(0, count, BATCH):
        new = [
            (user, NewEvent.create(choice.choice(item_ids), None, f"e{n}", 0.0, "" if n % EVERY else PURCHASE))
            for n in range(first, min(count, first + BATCH))
        ]
        outcomes = await recommender.record_batch(new)
        if failed := [outcome for outcome in outcomes if isinstance(outcome, Exception)]:
            raise SystemExit(f"cannot record events: {failed[0]}")


async def _cost(recommender: Recommender, user: str, query: TopK, redis: int, repeat: int) -> dict[str, float]:
    """Return CPU milliseconds of one question.

    The first two write snapshots and compile.
    """
    cpu, longest = [], []
    before = psutil.Process(redis).cpu_times()
    for n in range(repeat + 2):
        if n == 2:
            before = psutil.Process(redis).cpu_times()
        holds: list[float] = []
        ticks = asyncio.create_task(_tick(holds)) if n % 2 else None
        await asyncio.sleep(0)
        started = time.process_time()
        await recommender.recommend(user, query)
        spent = time.process_time() - started
        if ticks is None:
            cpu.append(spent)
        else:
            ticks.cancel()
            longest.append(max(holds, default=0.0))
    after = psutil.Process(redis).cpu_times()
    redis_seconds = (after.user + after.system - before.user - before.system) / repeat
    figures = {"cpu_ms": min(cpu), "longest_hold_ms": min(longest), "redis_ms": redis_seconds}
    return {name: round(1e3 * seconds, 2) for name, seconds in figures.items()}


async def _tick(holds: list[float]) -> None:
    """Note the CPU time between two runs of this task."""
    before = time.thread_time()
    while True:
        await asyncio.sleep(0)
        now = time.thread_time()
        holds.append(now - before)
        before = now


def main() -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--items", type=int, default=0, help="items of a synthetic catalogue (0: the demo's model)")
    parser.add_argument("--repeat", type=int, default=40, help="questions of each kind")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bundle = DEMO_BUNDLE
        if arguments.items:
            bundle = Path(folder) / "bundle"
            write_catalogue(bundle, DEMO_BUNDLE, arguments.items, seed=1)
        item_ids = [item.item_id for item in load_bundle(bundle).items]
        print(json.dumps({"items": len(item_ids), "users": measure(bundle, item_ids, EVENTS, arguments.repeat)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
