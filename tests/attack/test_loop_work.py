"""Calls of the largest requests in one event loop iteration.

The number of calls does not depend on the machine. `loadtests.micro.loop_time` measures the time.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from starlette.types import Message

from loadtests.generator.http_client import Request
from loadtests.generator.largest_requests import LargestRequest, largest_requests
from service.api.app import _ROUTERS
from service.api.connection.head_checks import is_target_too_long
from tests.api.app_harness import AppHarness
from tests.core.fakes import CATALOGUE, FakeEngine

MAX_CALLS = 5_000  # some 2 ms; an ordinary event makes 800
# A worker applies pages of changed items to its columns, at any time after a change, and corrects pages by them.
MAX_CATALOGUE_CALLS = 15_000
_CATALOGUE = (b"/v1/items", b"/v1/attributes", b"/v1/filters")
_REQUESTS = {case.name: case for case in largest_requests(CATALOGUE)}
_SERIALS = count(1)
_ADMINISTRATION = "/v1/admin/"


@contextmanager
def most_calls() -> Iterator[list[int]]:
    """Count the calls of each iteration; the list holds the most."""
    most, calls = [0], 0
    run = asyncio.BaseEventLoop._run_once  # type: ignore[attr-defined]

    def call(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    def counted(loop: asyncio.AbstractEventLoop) -> None:
        nonlocal calls
        calls = 0
        sys.setprofile(call)
        try:
            run(loop)
        finally:
            sys.setprofile(None)
        most[0] = max(most[0], calls)

    asyncio.BaseEventLoop._run_once = counted  # type: ignore[attr-defined]
    try:
        yield most
    finally:
        asyncio.BaseEventLoop._run_once = run  # type: ignore[attr-defined]


def send(harness: AppHarness, request: Request, serial: int) -> int:
    """Call the application and return the status.

    There is no HTTP client, because its calls would count too.
    """
    head, _, body = request.with_serial(serial).partition(b"\r\n\r\n")
    line, *headers = head.split(b"\r\n")
    method, target, _ = line.split(b" ")
    if is_target_too_long(target):
        return 414
    path, _, query = target.partition(b"?")
    scope = {
        "type": "http",
        "app": harness.app,
        "method": method.decode(),
        "path": path.decode(),
        "raw_path": path,
        "query_string": query,
        "headers": [tuple(header.split(b": ", 1)) for header in headers if header != b"host: 127.0.0.1"],
    }
    scope["headers"] += [(b"host", b"test")]
    statuses: list[int] = []

    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return messages.pop() if messages else await asyncio.get_running_loop().create_future()

    async def keep(message: Message) -> None:
        statuses.append(message.get("status", 0))

    harness.run(harness.app(scope, receive, keep))
    return statuses[0]


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppHarness]:
    folder: Path = tmp_path_factory.mktemp("loop")
    harness = AppHarness(folder, engine=FakeEngine(seconds=1.0)).start()  # never on the event loop
    yield harness
    harness.close()


@pytest.mark.parametrize("name", _REQUESTS)
def test_no_iteration_of_the_largest_request_makes_many_calls(harness: AppHarness, name: str) -> None:
    case: LargestRequest = _REQUESTS[name]
    for _ in range(2):  # the first one fills caches
        serial = next(_SERIALS)
        for request in case.before:
            assert send(harness, request, serial) == 200
        with most_calls() as most:
            status = send(harness, case.request, serial)
        assert status < 500
        assert most[0] > 0 or status == 414  # refused before the application
    path = case.request.raw.split(b" ", 2)[1]
    assert most[0] <= (MAX_CATALOGUE_CALLS if path.startswith(_CATALOGUE) else MAX_CALLS)


def test_every_route_has_a_largest_request() -> None:
    lines = [case.request.raw.split(b"\r\n")[0].decode().split(" ") for case in _REQUESTS.values()]
    asked = {(method, path.partition("?")[0]) for method, path, _ in lines}
    for router in _ROUTERS:
        for route in router.routes:
            if route.path.startswith(_ADMINISTRATION):  # type: ignore[attr-defined]
                continue
            pattern = route.path_regex
            assert any(method in route.methods and pattern.match(path) for method, path in asked), route
