"""Ids in the path and in the query have the same answers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import httpx
import pytest

from service.api.middleware.request_path import query_path
from tests.api.app_harness import AppHarness
from tests.core.memory_store import MemoryStore

IDS = [
    "ann",
    ".",
    "..",
    "...",
    "/",
    "a/b",
    "/v1/users/x",
    "../x",
    "%",
    "%2F",
    "%2e%2e",
    "100%",
    "a b",
    " ",
    "a+b",
    "a&user_id=b",
    "k=3",
    "#?;=,:@!$'()*",
    "{user_id}",
    "ünï",
    "用户",
    "😀",
    "\u00a0",
    "events",
    "null",
    "x" * 256,
    "\U0001f600" * 256,
]
BODIES: dict[str, dict[str, Any]] = {
    "rank": {"candidates": ["1"]},
    "recommendations": {},
    "{item_id}": {"title": "x"},
    "audit": {"answer": {"model_version": "1", "sequence": 1, "source": "state", "items": []}},
}


@pytest.fixture(params=[True, False], ids=["fast path", "routes only"])
def harness(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[AppHarness]:
    harness = AppHarness(tmp_path, store=MemoryStore(), fast_path=request.param).start()
    yield harness
    harness.close()


def routes(harness: AppHarness) -> list[tuple[str, str]]:
    """Return the operations with ids in their paths, deletions last."""
    found = [
        (method.upper(), path)
        for path, methods in harness.app.openapi()["paths"].items()
        for method in methods
        if (names := re.findall(r"\{(\w+)\}", path)) and set(names) <= {"user_id", "event_id", "item_id"}
    ]
    return sorted(found, key=lambda each: (each[0] == "DELETE", "event_id" not in each[1]))


def both(
    harness: AppHarness, method: str, path: str, ids: dict[str, str], more: str = ""
) -> tuple[httpx.Response, ...]:
    """Send a request in both forms; return the answers."""
    in_path = re.sub(r"\{(\w+)\}", lambda match: quote(ids[match[1]], safe=""), path)
    names = re.findall(r"\{(\w+)\}", path)
    query = "&".join(f"{name}={quote_plus(ids[name])}" for name in names)
    body = BODIES.get(path.rpartition("/")[2]) if method not in ("GET", "DELETE") else None
    return (
        harness.call(method, f"{_undotted(in_path)}?{more}", json=body),
        harness.call(method, f"{query_path(path)}?{query}&{more}", json=body),
    )


def _undotted(path: str) -> str:
    """Encode dots, which the client would take for relative segments."""
    return "/".join("%2E" * len(part) if part in (".", "..") else part for part in path.split("/"))


@pytest.mark.parametrize("name", IDS)
def test_every_id_has_the_same_answers_in_path_and_query(harness: AppHarness, name: str) -> None:
    ids = {"user_id": name, "event_id": name, "item_id": name}
    event = {"user_id": name, "item_id": "10", "event_id": name, "timestamp": 1.0}
    assert harness.post("/v1/events", json=event).status_code == 200
    for method, path in routes(harness):
        if method == "DELETE" or path.endswith(("/merge", "{name}")):
            continue
        first, second = both(harness, method, path, ids)
        assert first.status_code == (404 if path.endswith("/similar") else 200), (path, first.text)
        if method in ("PUT", "PATCH"):  # the second one changes nothing
            assert first.json()["item_id"] == second.json()["item_id"] == name
            continue
        assert (first.status_code, first.json()) == (second.status_code, second.json()), path
        if "user_id" in path:
            assert second.json()["user_id"] == name
    deleted = harness.delete(f"/v1/user/event?user_id={quote(name, safe='')}&event_id={quote(name, safe='')}")
    assert deleted.json() == {"user_id": name, "event_id": name, "deleted": True}
    harness.post("/v1/events", json=event)
    assert harness.delete(f"/v1/user?user_id={quote_plus(name)}").json()["deleted_events"] == 1


@pytest.mark.parametrize("name", IDS)
def test_merge_takes_every_id_in_path_and_query(harness: AppHarness, name: str) -> None:
    for path in (f"/v1/users/{_undotted(quote(name, safe=''))}/merge", f"/v1/user/merge?user_id={quote_plus(name)}"):
        harness.post("/v1/events", json={"user_id": "no/body", "item_id": "20"})
        merged = harness.post(path, json={"from_user_id": "no/body"}).json()
        assert (merged["user_id"], merged["moved_events"]) == (name, 1)


def test_other_parameters_and_their_problems_are_the_same(harness: AppHarness) -> None:
    harness.post("/v1/events", json={"user_id": "a/b", "item_id": "10"})
    for more in ("k=2", "k=2&exclude_seen=false", "k=0", "k=2&k=3", "unknown=1", "K=2"):
        first, second = both(harness, "GET", "/v1/users/{user_id}/recommendations", {"user_id": "a/b"}, more)
        assert (first.status_code, first.json()) == (second.status_code, second.json()), more
    first, second = both(harness, "GET", "/v1/items/{item_id}/similar", {"item_id": "10"}, "k=2")
    assert (second.status_code, first.json()) == (200, second.json())
    for bad in ("%ff", "%00", "%0a", "x" * 257):
        for path in (f"/v1/users/{bad}/events", f"/v1/user/events?user_id={bad}"):
            assert harness.refused(422, harness.get(path))["details"][0]["field"] == "user_id"


@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ("", ["user_id", "event_id"]),
        ("?user_id=u", ["event_id"]),
        ("?user_id=&event_id=e", ["user_id"]),
        ("?user_id&event_id=e", ["user_id"]),
        ("?user_id=u&user_id=v&event_id=e", ["user_id"]),
        ("?user_id=u&user%5Fid=v&event_id=e", ["user_id"]),
        ("?user_id=u&event_id=e&event_id=e", ["event_id"]),
    ],
)
def test_missing_empty_and_repeated_ids_are_refused(harness: AppHarness, query: str, wrong: list[str]) -> None:
    harness.post("/v1/events", json={"user_id": "u", "item_id": "10", "event_id": "e"})
    details = harness.refused(422, harness.delete(f"/v1/user/event{query}"))["details"]
    assert [detail["field"] for detail in details] == wrong
    assert harness.get("/v1/users/u").json()["events"] == 1


def test_id_in_the_query_needs_a_key_before_its_form_is_told(tmp_path: Path) -> None:
    guarded = AppHarness(tmp_path, keys=("a-key-of-enough-length",)).start()
    for path in ("/v1/user", "/v1/user?user_id=u", "/v1/user?user_id=u&user_id=v"):
        guarded.refused(401, guarded.get(path))
    guarded.close()


def test_id_in_the_path_and_the_query_is_refused(harness: AppHarness) -> None:
    harness.post("/v1/events", json={"user_id": "u", "item_id": "10"})
    assert harness.refused(422, harness.get("/v1/users/u?user_id=v"))["details"][0]["field"] == "user_id"


def test_wrong_method_names_the_methods_and_head_has_no_body(harness: AppHarness) -> None:
    harness.post("/v1/events", json={"user_id": "u", "item_id": "10"})
    response = harness.call("PUT", "/v1/user?user_id=u")
    assert (response.status_code, response.headers["allow"]) == (405, "DELETE, GET, HEAD")
    head = harness.call("HEAD", "/v1/user/recommendations?user_id=u")
    assert (head.status_code, head.content) == (200, b"")
    assert 'route="/v1/users/{user_id}/recommendations"' in harness.get("/metrics").text


def test_every_path_with_an_id_has_a_second_form_in_the_document(harness: AppHarness) -> None:
    paths = harness.app.openapi()["paths"]
    for method, path in routes(harness):
        names = {parameter["name"] for parameter in paths[query_path(path)][method.lower()]["parameters"]}
        assert set(re.findall(r"\{(\w+)\}", path)) <= names
        for parameter in paths[query_path(path)][method.lower()]["parameters"]:
            if parameter["name"] in re.findall(r"\{(\w+)\}", path):
                assert (parameter["in"], parameter["required"]) == ("query", True)
                assert parameter["schema"]["minLength"] == 1
        assert "{" not in query_path(path)
    assert len({query_path(path) for path in paths}) == len([path for path in paths if "{" not in path])
