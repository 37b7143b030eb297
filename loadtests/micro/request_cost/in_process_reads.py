"""Reads of the fast path without an HTTP server, and their cost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, MutableMapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from statistics import median
from typing import Any

from loadtests.micro.interleaved import CpuTimes, Measured
from service.api.app import Api, OpenServices
from service.api.dependencies import Services

CONCURRENT = 16
PATH = "/v1/users/ann/recommendations"

Headers = Sequence[tuple[bytes, bytes]]


def reads_of(runner: asyncio.Runner, app: Api, headers: Headers = ()) -> Measured:
    """Return the call of `CONCURRENT` reads at a time."""

    async def together() -> None:
        await asyncio.gather(*(app(_scope(app, headers), _receive, partial(_send, [])) for _ in range(CONCURRENT)))

    return Measured(lambda: runner.run(together()), CONCURRENT)


async def read_once(app: Api, headers: Headers = ()) -> bytes:
    """Return the body of one answer."""
    parts: list[bytes] = []
    await app(_scope(app, headers), _receive, partial(_send, parts))
    return b"".join(parts)


def already_open(services: Services) -> OpenServices:
    """Return what opens an application on services that are open."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Services]:
        yield services

    return opened


def figures_of(times: CpuTimes) -> dict[str, Any]:
    """Return CPU microseconds per request and their ratio.

    The ratio is that of "with" to "without". All are medians of the rounds.
    """
    ratios = [one / other for one, other in zip(times["with"], times["without"], strict=True)]
    figures = {name: round(median(values), 1) for name, values in times.items()}
    return {"cpu_us_per_request": figures, "ratio": round(median(ratios), 4)}


def _scope(app: Api, headers: Headers) -> dict[str, Any]:
    return {
        "type": "http",
        "app": app,
        "method": "GET",
        "path": PATH,
        "raw_path": PATH.encode(),
        "query_string": b"k=10",
        "headers": [(b"host", b"localhost"), *headers],
    }


async def _receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _send(parts: list[bytes], message: MutableMapping[str, Any]) -> None:
    if message.get("status", 200) != 200:
        raise SystemExit(f"a request was answered {message['status']}")
    parts.append(message.get("body", b""))
