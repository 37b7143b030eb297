"""Benchmark of recommendation ids: CPU per request with them and without.

    python -m loadtests.micro.attribution.recommendation_id_cost

Two services answer reads of the fast path, 16 at a time, measured in alternation; one has a key for ids. They are
called without an HTTP server, so the ratio is above that of a running server. Prints JSON: CPU microseconds per
request of each, and the ratio; medians of the rounds.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, MutableMapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from statistics import median
from typing import Any

from pydantic import SecretStr

from loadtests.environment.servers import DEMO_BUNDLE
from loadtests.micro.interleaved import Call, Measured, measure_interleaved
from service.api.app import Api, build_api
from service.api.dependencies import Services
from service.api.user_tokens import UserTokens
from service.key_file import KeyRing
from service.main import PAGES, open_services
from service.observability.metrics import PrometheusMeter
from service.settings import Settings

CONCURRENT, ROUNDS_SECONDS = 16, 1.0
PATH = "/v1/users/ann/recommendations"


async def _receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _send(sent: list[bytes], message: MutableMapping[str, Any]) -> None:
    if message.get("status", 200) != 200:
        raise SystemExit(f"a request was answered {message['status']}")
    if "body" in message:
        sent[:] = [message["body"]]


def _scope(app: Api) -> dict[str, Any]:
    return {
        "type": "http",
        "app": app,
        "method": "GET",
        "path": PATH,
        "raw_path": PATH.encode(),
        "query_string": b"k=10",
        "headers": [(b"host", b"localhost")],
    }


def _call(runner: asyncio.Runner, app: Api, sent: list[bytes]) -> Call:
    async def together() -> None:
        await asyncio.gather(*(app(_scope(app), _receive, partial(_send, sent)) for _ in range(CONCURRENT)))

    return lambda: runner.run(together())


def main() -> None:
    """Run the benchmark and print its figures."""
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
        stack, calls = AsyncExitStack(), {}
        for name, keys in (("with", (SecretStr("k" * 32),)), ("without", ())):
            url = SecretStr(f"sqlite:///{folder}/{name}.db")
            meter = PrometheusMeter()
            settings = Settings(state_url=url, bundle=DEMO_BUNDLE, id_keys=keys)
            services = runner.run(stack.enter_async_context(open_services(settings, meter)))
            app = build_api(partial(_opened, services), meter, PAGES, keys=KeyRing(), tokens=UserTokens())
            app.state.services = services
            sent: list[bytes] = []
            calls[name] = Measured(_call(runner, app, sent), CONCURRENT)
            calls[name].call()  # type: ignore[misc]
            if ("recommendation_id" in json.loads(sent[0])) != bool(keys):
                raise SystemExit("an answer has an id where it should not, or has none")
        times = measure_interleaved(calls, min_seconds=ROUNDS_SECONDS)
        runner.run(stack.aclose())
    figures = {name: round(median(values), 1) for name, values in times.items()}
    ratios = [one / other for one, other in zip(times["with"], times["without"], strict=True)]
    print(json.dumps({"cpu_us_per_request": figures, "ratio": round(median(ratios), 4)}))


@asynccontextmanager
async def _opened(services: Services) -> AsyncIterator[Services]:
    yield services


if __name__ == "__main__":
    main()
