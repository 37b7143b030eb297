"""Benchmark of the access log: CPU per request with it and without.

    python -m loadtests.micro.access_log_cost

Two applications on the same services answer reads of the fast path, 16 at a time, measured in alternation. They are
called without an HTTP server, so the ratio is above that of a running server. Prints JSON: CPU microseconds per
request of each, and the ratio; medians of the rounds.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, MutableMapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any

from pydantic import SecretStr

from loadtests.environment.servers import DEMO_BUNDLE
from loadtests.micro.interleaved import Call, Measured, measure_interleaved
from service.api.app import Api, build_api
from service.api.dependencies import Services
from service.api.user_tokens import UserTokens
from service.api_keys import parse_key
from service.key_file import KeyRing
from service.main import PAGES, open_services
from service.observability.access_log import AccessLog
from service.observability.metrics import PrometheusMeter
from service.settings import Settings

CONCURRENT = 16
KEY = "key-of-the-access-log-benchmark"
PATH = "/v1/users/ann/recommendations"


async def _receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _send(message: MutableMapping[str, Any]) -> None:
    if message.get("status", 200) != 200:
        raise SystemExit(f"a request was answered {message['status']}")


def _scope(app: Api) -> dict[str, Any]:
    return {
        "type": "http",
        "app": app,
        "method": "GET",
        "path": PATH,
        "raw_path": PATH.encode(),
        "query_string": b"k=10",
        "headers": [(b"host", b"localhost"), (b"x-api-key", KEY.encode())],
    }


def _call(runner: asyncio.Runner, app: Api) -> Call:
    async def together() -> None:
        await asyncio.gather(*(app(_scope(app), _receive, _send) for _ in range(CONCURRENT)))

    return lambda: runner.run(together())


def main() -> None:
    """Run the benchmark and print its figures."""
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
        settings = Settings(state_url=SecretStr(f"sqlite:///{folder}/log.db"), bundle=DEMO_BUNDLE)
        meter, keys, stack = PrometheusMeter(), KeyRing([parse_key(KEY)]), AsyncExitStack()
        services = runner.run(stack.enter_async_context(open_services(settings, meter)))

        @asynccontextmanager
        async def open_again() -> AsyncIterator[Services]:
            yield services

        with (Path(folder) / "access.log").open("w", buffering=1) as file:
            calls = {}
            for name, log in (("with", AccessLog(file.write)), ("without", None)):
                app = build_api(open_again, meter, PAGES, keys=keys, tokens=UserTokens(), access_log=log)
                app.state.services = services
                calls[name] = Measured(_call(runner, app), CONCURRENT)
            times = measure_interleaved(calls, min_seconds=0.5)
        runner.run(stack.aclose())
    figures = {name: round(median(values), 1) for name, values in times.items()}
    ratios = [one / other for one, other in zip(times["with"], times["without"], strict=True)]
    print(json.dumps({"cpu_us_per_request": figures, "ratio": round(median(ratios), 4)}))


if __name__ == "__main__":
    main()
