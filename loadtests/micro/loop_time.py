"""Longest time for which each request holds the event loop, and Redis.

    python -m loadtests.micro.loop_time [--store redis|sqlite] [--repeat 5]

Sends every route's largest request (`generator.largest_requests`) to a service whose event loop is measured callback
by callback. Prints a line for each, longest first, and then JSON: CPU milliseconds of the longest callback, its
name, and the longest command of Redis. Each figure is the least of the repetitions, because other work on the
machine only adds to it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import count
from pathlib import Path
from typing import Any

import redis

from loadtests.environment.probed_service import VARIABLE, LoopProbe
from loadtests.environment.processes import free_port
from loadtests.environment.servers import DEMO_BUNDLE, RedisSettings, http_server, redis_server
from loadtests.generator.http_client import Connection, Request
from loadtests.generator.largest_requests import LargestRequest, largest_requests
from model.bundle.bundle import load_bundle

_PAUSE_SECONDS = 0.05
_SERIALS = count(1)


@contextmanager
def _probed_service(state_url: str, folder: Path) -> Iterator[tuple[int, LoopProbe]]:
    probe, port = LoopProbe(folder / "probe"), free_port()
    environment = {
        "RECBLR_PORT": str(port),
        "RECBLR_STATE_URL": state_url,
        "RECBLR_BUNDLE": str(DEMO_BUNDLE),
        "RECBLR_LOG_LEVEL": "error",
        VARIABLE: str(folder / "probe"),
    }
    command = [sys.executable, "-m", "loadtests.environment.probed_service", "--callbacks"]
    with http_server("recblr", command, environment, port, "/readyz"):
        yield port, probe


def measure(port: int, probe: LoopProbe, case: LargestRequest, client: redis.Redis | None) -> dict[str, Any]:
    """Send one request after its predecessors; return what it cost."""
    serial = next(_SERIALS)
    for request in case.before:
        if _send(port, request, serial) != 200:
            raise SystemExit(f"cannot prepare {case.name}")
    time.sleep(_PAUSE_SECONDS)
    probe.reset()
    if client is not None:
        client.slowlog_reset()
    status = _send(port, case.request, serial)
    time.sleep(_PAUSE_SECONDS)
    found = probe.read()
    commands = [each["duration"] / 1e3 for each in client.slowlog_get(1000)] if client is not None else []
    return {
        "status": status,
        "cpu_ms": found.cpu_ms,
        "wall_ms": found.wall_ms,
        "callback": found.callback,
        "redis_ms": round(max(commands, default=0.0), 2),
    }


def _send(port: int, request: Request, serial: int) -> int:
    connection = Connection(port)
    connection.socket.settimeout(30)
    try:
        return connection.request(request.with_serial(serial))[0]
    finally:
        connection.close()


def main() -> int:
    """Run the measurement; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--store", choices=("redis", "sqlite"), default="redis", help="event log")
    parser.add_argument("--repeat", type=int, default=5, help="measurements of each request")
    parser.add_argument("--only", default="", help="requests with this in their name")
    arguments = parser.parse_args()
    cases = [
        case
        for case in largest_requests([item.item_id for item in load_bundle(DEMO_BUNDLE).items])
        if arguments.only in case.name
    ]
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with redis_server(RedisSettings("everysec")) if arguments.store == "redis" else nullcontext() as server:
            client = None
            if server is not None:
                client = redis.Redis(port=server.port)
                client.config_set("slowlog-log-slower-than", 1000)
                client.config_set("slowlog-max-len", 1000)
            url = server.url if server is not None else f"sqlite:///{folder}/log.db"
            with _probed_service(url, folder) as (port, probe):
                for case in cases:
                    measured = [measure(port, probe, case, client) for _ in range(arguments.repeat)]
                    least = min(measured, key=lambda each: float(each["cpu_ms"]))
                    least["redis_ms"] = min(each["redis_ms"] for each in measured)
                    rows.append({"request": case.name} | least)
    for row in sorted(rows, key=lambda row: -max(row["cpu_ms"], row["redis_ms"])):
        print("{cpu_ms:8.2f} ms  Redis {redis_ms:8.2f} ms  {status}  {request}  {callback}".format(**row))
    print(json.dumps({"requests": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
