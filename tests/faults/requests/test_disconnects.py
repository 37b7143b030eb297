"""Clients that disconnect at random moments.

No answer contains another user's data, and no connection stays open.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from model.bundle.bundle import write_bundle
from model.config import ModelConfig
from tests.end_to_end.service import KEY, RunningService
from tests.faults.harness.modes import report, short_or_long
from tests.model.builders import bundle_of
from tests.servers import RedisServer

pytestmark = [pytest.mark.faults, pytest.mark.alone]

SEED = 20261124
ITEMS, AT_ONCE = 40, 64
TIMEOUT_SECONDS = 30.0
# When a client disconnects: within its request, before the answer, within the answer, or never.
MOMENTS = ("request", "before the answer", "answer", "never")


@dataclass
class Client:
    """Actions and results of one client."""

    user: str
    moment: str
    acknowledged: int = 0
    wrong: str = ""


def test_disconnects_leak_no_connection_and_no_data(tmp_path: Path) -> None:
    count = short_or_long(400, 5000)
    write_bundle(tmp_path / "bundle", bundle_of(ModelConfig(items=ITEMS, dim=4, expansion=1, conv_width=2, layers=1)))
    rng = random.Random(SEED)
    clients = [Client(f"client {n}", rng.choice(MOMENTS)) for n in range(count)]
    with RedisServer() as server, RunningService(tmp_path, server.url, tmp_path / "bundle") as service:
        service.get("/model")  # the test's own client holds one connection, before and after
        before = service.connections()
        assert before
        asyncio.run(_all(service.url, clients, random.Random(SEED)))
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while (left := service.connections() - before) > 0 and time.monotonic() < deadline:
            time.sleep(0.05)
        in_progress = re.search(r"^recblr_http_requests_in_progress (\S+)$", service.metrics(), re.MULTILINE)
        lost = 0
        for client in clients:
            if client.acknowledged:
                lost += service.get(f"/users/{client.user}")["sequence"] < client.acknowledged
        wrong = [client.wrong for client in clients if client.wrong]
        report(
            "clients that disconnect at random moments",
            seed=SEED,
            clients=count,
            moments=dict(Counter(client.moment for client in clients)),
            acknowledged=sum(client.acknowledged for client in clients),
            lost=lost,
            answers_of_others=len(wrong),
            connections_left=left,
        )
    assert not wrong
    assert (lost, left) == (0, 0)
    assert in_progress is not None
    assert float(in_progress[1]) == 1.0  # the request for the metrics


async def _all(url: str, clients: list[Client], rng: random.Random) -> None:
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(client: Client, own: random.Random) -> None:
        async with gate:
            await _run(url, client, own)

    await asyncio.gather(*(one(client, random.Random(rng.random())) for client in clients))


async def _run(url: str, client: Client, rng: random.Random) -> None:
    """Send some requests on one connection; abort the last at `client.moment`."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        for _ in range(rng.randrange(3)):
            writer.write(_request(client.user, rng))
            _evaluate(client, *await _answer(reader))
        request = _request(client.user, rng)
        if client.moment == "request":
            writer.write(request[: rng.randrange(1, len(request))])
        else:
            writer.write(request)
        await writer.drain()
        await asyncio.sleep(rng.choice((0.0, 0.001, 0.01)))
        if client.moment == "answer":
            await reader.read(rng.randrange(1, 200))
        elif client.moment == "never":
            _evaluate(client, *await _answer(reader))
    finally:
        if rng.random() < 0.5:
            writer.transport.abort()  # RST instead of FIN
        writer.close()


def _request(user: str, rng: random.Random) -> bytes:
    head = f"Host: test\r\nX-API-Key: {KEY}\r\nX-Request-ID: {user}\r\n"
    if rng.random() < 0.3:
        return f"GET /v1/users/{user.replace(' ', '%20')}/recommendations?k=5 HTTP/1.1\r\n{head}\r\n".encode()
    body = json.dumps({"user_id": user, "item_id": f"i{1 + rng.randrange(ITEMS)}"})
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"POST /v1/events?k=5 HTTP/1.1\r\n{head}\r\n{body}".encode()


async def _answer(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        size = re.search(r"content-length: (\d+)", head)
        assert size is not None
        return head, await reader.readexactly(int(size[1]))


def _evaluate(client: Client, head: str, body: bytes) -> None:
    """Check that the answer belongs to this client's request and user."""
    found = json.loads(body)
    about = {found.get("user_id"), found.get("recommendations", found).get("user_id")}
    if (
        " 200 " not in head.split("\r\n", maxsplit=1)[0] + " "
        or about != {client.user}
        or f"x-request-id: {client.user}" not in head
    ):
        client.wrong = f"{client.user} got {head} {found}"
    if "recommendations" in found:
        client.acknowledged = found["sequence"]
