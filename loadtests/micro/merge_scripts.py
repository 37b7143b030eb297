"""Longest time for which one script of a merge holds Redis.

    python -m loadtests.micro.merge_scripts [--events 1000 100000] [--repeat 3]

Merges two logs of so many events, reads the merged log, and deletes the user. Prints a line for each script: calls,
and the median and the longest call in milliseconds. A figure is the least of the repetitions, because other work on
the machine only adds to it. The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
from collections import defaultdict
from typing import Any

import redis

from loadtests.environment.machine_info import machine_info
from loadtests.environment.servers import RedisServer, RedisSettings, redis_server
from service.core.events import AppendAndRead, NewEvent
from service.core.ports import Store
from service.store.factory import open_store
from service.store.redis import lua_scripts
from service.store.redis.lua_scripts import Script

MAX_EVENTS = 100_000
_APPENDED_AT_ONCE = 500
_NAMES = {each.digest: name.lower() for name, each in vars(lua_scripts).items() if isinstance(each, Script)}


def measure(server: RedisServer, events: int) -> dict[str, list[float]]:
    """Return the milliseconds of each call, by script."""
    with redis.Redis(port=server.port) as client:
        client.flushall()
        client.config_set("slowlog-log-slower-than", 0)
        client.config_set("slowlog-max-len", 1_000_000)
        asyncio.run(_merge(server.url, events, client))
        found = defaultdict(list)
        for each in client.slowlog_get(1_000_000):
            command, _, rest = each["command"].partition(b" ")
            name = _NAMES.get(rest.partition(b" ")[0].decode()) if command == b"EVALSHA" else None
            if name is not None:
                found[name].append(each["duration"] / 1e3)
        client.slowlog_reset()
    return found


async def _merge(url: str, events: int, client: redis.Redis) -> None:
    store = await open_store(url, MAX_EVENTS)
    try:
        for user in ("first", "second"):
            await _fill(store, user, events)
        client.slowlog_reset()
        merged = await store.merge("first", "second")
        if merged is None or merged.moved != events:
            raise SystemExit("the merge has moved other events")
        await store.append_and_read([AppendAndRead("first", None)])
        if not await store.delete_event("first", f"first-{events // 2}"):
            raise SystemExit("the merged log lacks an event")
        await store.delete_user("first")
    finally:
        await store.close()


async def _fill(store: Store, user: str, events: int) -> None:
    for start in range(0, events, _APPENDED_AT_ONCE):
        numbers = range(start, min(start + _APPENDED_AT_ONCE, events))
        new = tuple(NewEvent.create("1", 1e9 + n, f"{user}-{n}", 0.0) for n in numbers)
        await store.append_and_read([AppendAndRead(user, "none", new)])


def summarize(repetitions: list[dict[str, list[float]]]) -> dict[str, Any]:
    """Return calls, median and longest call of each script."""
    return {
        name: {
            "calls": len(repetitions[0][name]),
            "median_ms": round(min(statistics.median(each[name]) for each in repetitions), 3),
            "longest_ms": round(min(max(each[name]) for each in repetitions), 3),
        }
        for name in repetitions[0]
    }


def main() -> int:
    """Run the measurement; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--events", type=int, nargs="+", default=[1000, MAX_EVENTS // 2], help="events of each log")
    parser.add_argument("--repeat", type=int, default=3, help="measurements of each length")
    arguments = parser.parse_args()
    results = {}
    with redis_server(RedisSettings("everysec")) as server:
        for events in arguments.events:
            found = summarize([measure(server, events) for _ in range(arguments.repeat)])
            results[events] = found
            for name, row in sorted(found.items(), key=lambda each: -each[1]["longest_ms"]):
                figures = "{calls:5} calls  {median_ms:7.2f}  {longest_ms:7.2f} ms".format(**row)
                print(f"{events:7} events  {figures}  {name}")
    print(json.dumps({"machine": machine_info(), "scripts": results}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
