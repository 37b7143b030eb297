"""Ordinary clients get the same answers, direct and through proxies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from tests.conformance.program_clients import send_with_curl, send_with_java, send_with_node
from tests.conformance.proxies import PREFIX, Way, running_haproxy, running_nginx
from tests.conformance.python_clients import (
    send_with_aiohttp,
    send_with_httpx,
    send_with_requests,
    send_with_urllib,
)
from tests.conformance.steps import Answer, Request, comparable, requests_for
from tests.end_to_end.service import KEY, ROOT, RunningService

Client = Callable[[Sequence[tuple[str, Request]]], list[Answer]]
CLIENTS: dict[str, Client] = {
    "httpx": send_with_httpx,
    "requests": send_with_requests,
    "aiohttp": send_with_aiohttp,
    "urllib": send_with_urllib,
    "curl --http2": send_with_curl,
    "node fetch": send_with_node,
    "Java HttpClient": send_with_java,
}
PROXIES = {"direct": None, "nginx": running_nginx, "haproxy": running_haproxy}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("service")
    bundle = ROOT / "bundles" / "ml-1m-demo"
    settings = {"RECBLR_ROOT_PATH": PREFIX, "RECBLR_BACKFILL_SHARE": "0"}  # a backfill's progress is never the same
    with RunningService(folder, f"sqlite:///{folder}/log.db", bundle, **settings) as service:
        yield service


@pytest.fixture(scope="module")
def document(service: RunningService) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{service.url}/openapi.json").json()
    return found


@pytest.fixture(scope="module", params=PROXIES)
def ways(
    request: pytest.FixtureRequest, service: RunningService, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Way]]:
    run = PROXIES[request.param]
    if run is None:
        yield [Way("direct", service.url), Way("direct with the prefix", service.url + PREFIX)]
        return
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp(request.param) / "run"
        yield stack.enter_context(run(folder, int(service.url.rpartition(":")[2])))


@pytest.fixture(scope="module")
def expected(service: RunningService, document: dict[str, Any]) -> dict[bool, list[tuple[str, Answer]]]:
    """Answers of a plain client, without and with decoded paths."""
    return {
        decodes: answers(send_with_httpx, [Way("plain", service.url, decodes)], document, f"plain-{decodes}")[0]
        for decodes in (False, True)
    }


def answers(client: Client, ways: list[Way], document: dict[str, Any], tag: str) -> list[list[tuple[str, Answer]]]:
    """Send all requests over each way, in one run."""
    tags = [f"{tag}-{number}" for number in range(len(ways))]
    sent = [requests_for(document, each, way.decodes_paths) for each, way in zip(tags, ways, strict=True)]
    found = iter(
        client([(way.base, request) for way, requests in zip(ways, sent, strict=True) for request in requests])
    )
    return [
        [(request.operation, comparable(next(found), each)) for request in requests]
        for each, requests in zip(tags, sent, strict=True)
    ]


@pytest.mark.parametrize("name", CLIENTS)
def test_every_route_has_the_answer_of_the_plain_client(
    ways: list[Way], document: dict[str, Any], expected: dict[bool, list[tuple[str, Answer]]], name: str
) -> None:
    tag = f"{name.replace(' ', '')}-{ways[0].base.rpartition(':')[2]}"
    for way, found in zip(ways, answers(CLIENTS[name], ways, document, tag), strict=True):
        for (operation, answer), (_, plain) in zip(found, expected[way.decodes_paths], strict=True):
            assert answer == plain, (way.name, operation)


def test_requests_cover_every_operation_and_most_succeed(
    document: dict[str, Any], expected: dict[bool, list[tuple[str, Answer]]]
) -> None:
    operations = {
        operation["operationId"] for methods in document["paths"].values() for operation in methods.values()
    }
    for found in expected.values():
        assert {operation for operation, _ in found} == operations
        refused = {operation: answer.status for operation, answer in found if answer.status != 200}
        # The visitor has no events, there is one model version, and some things can be deleted once.
        unanswered = {"merge_user": 404, "merge_user_by_query": 404, "begin_ab_test": 404, "end_ab_test": 409}
        deleted_twice = {f"delete_{kind}_by_query": 404 for kind in ("event", "attribute", "filter")}
        assert unanswered.items() <= refused.items() <= (unanswered | deleted_twice).items()


def test_prefix_alone_leads_to_the_console(ways: list[Way]) -> None:
    for way in ways:
        if way.base.endswith(PREFIX):
            answer = httpx.get(way.base, follow_redirects=True)
            assert str(answer.url) == f"{way.base}/", way.name
            assert "recblr-service console" in answer.text
        page = httpx.get(f"{way.base}/docs")
        assert "script-src 'self'" in page.headers["content-security-policy"]
        assert httpx.get(f"{way.base}/openapi.json").json()["servers"] == [{"url": PREFIX}]


def test_error_of_a_proxied_request_reaches_the_client(ways: list[Way]) -> None:
    for way in ways:
        with httpx.Client(base_url=way.base, headers={"x-api-key": KEY}) as client:
            for answer, status in (
                (client.get("/v1/model", headers={"x-api-key": "wrong"}), 401),
                (client.post("/v1/events", json={"user_id": "u"}), 422),
                (client.put("/v1/events"), 405),
                (client.get("/v1/nothing"), 404),
            ):
                assert (answer.status_code, list(answer.json())) == (status, ["error"]), way.name
