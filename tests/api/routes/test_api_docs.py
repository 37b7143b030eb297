"""The page of the API documentation, its files, and the OpenAPI document."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from service.api.routes.api_docs import docs_router, docs_url
from service.main import PAGES
from tests.api.app_harness import AppHarness

FILES = ("/docs/api_docs.js", "/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js")


@pytest.fixture
def behind_prefix(tmp_path: Path) -> Iterator[AppHarness]:
    harness = AppHarness(tmp_path, root_path="/shop/recommender").start()
    yield harness
    harness.close()


def test_page_refers_only_to_its_own_files_and_policy_allows_only_these(harness: AppHarness) -> None:
    page = harness.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert sorted(link for link in links if not link.startswith("data:")) == sorted(
        [*(name.lstrip("/") for name in FILES), "openapi.json"]
    )
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\bon\w+=|\bstyle=", page.text) == []
    policy = page.headers["content-security-policy"]
    assert "script-src 'self'; style-src 'self';" in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", *FILES])
def test_file_is_answered_304_when_client_has_it(harness: AppHarness, path: str) -> None:
    first = harness.get(path)
    assert first.status_code == 200
    assert first.headers["cache-control"] == "no-cache"
    again = harness.get(path, headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert harness.get(path, headers={"if-none-match": '"other"'}).content == first.content
    assert harness.call("HEAD", path).headers["content-length"] == str(len(first.content))


@pytest.mark.parametrize(
    "path", ["/docs/", "/docs/index.html", "/docs/redoc.standalone.js", "/docs/..%2fmain.py", "/redoc", "/docs/x/y"]
)
def test_other_path_is_404(harness: AppHarness, path: str) -> None:
    assert harness.refused(404, harness.get(path))["code"] == "not_found"


def test_page_asks_no_other_server(harness: AppHarness) -> None:
    assert "http" not in harness.get("/docs/api_docs.js").text
    assert "sourceMappingURL=http" not in harness.get("/docs/swagger-ui-bundle.js").text


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/v1/model", "/healthz", *FILES])
def test_every_path_is_served_with_and_without_the_prefix(behind_prefix: AppHarness, path: str) -> None:
    plain, prefixed = behind_prefix.get(path), behind_prefix.get(f"/shop/recommender{path}")
    assert plain.status_code == 200
    assert prefixed.content == plain.content
    behind_prefix.refused(404, behind_prefix.get(f"/shop/recommender2{path}"))
    behind_prefix.refused(404, behind_prefix.get(f"/shop{path}"))


def test_prefixed_request_has_the_same_effect_route_and_private_headers(behind_prefix: AppHarness) -> None:
    event = {"user_id": "a/b", "item_id": "1"}
    response = behind_prefix.post("/shop/recommender/v1/events?k=2", json=event)
    assert (response.status_code, response.headers["cache-control"]) == (200, "no-store")
    assert behind_prefix.get("/shop/recommender/v1/users/a%2Fb/recommendations").json()["sequence"] == 1
    assert 'route="/v1/events"' in behind_prefix.get("/shop/recommender/metrics").text
    response = behind_prefix.call("PUT", "/shop/recommender/v1/users/u")
    assert (response.status_code, response.headers["allow"]) == (405, "DELETE, GET, HEAD")


def test_prefix_without_slash_leads_to_the_console_and_document_names_it(behind_prefix: AppHarness) -> None:
    response = behind_prefix.get("/shop/recommender")
    assert (response.status_code, response.headers["location"]) == (308, "/shop/recommender/")
    assert behind_prefix.get("/openapi.json").json()["servers"] == [{"url": "/shop/recommender"}]


def test_document_is_built_once_outside_the_event_loop(harness: AppHarness) -> None:
    built: list[str] = []

    def build() -> dict[str, str]:
        built.append(threading.current_thread().name)
        return {"openapi": "3.1.0"}

    app = FastAPI(openapi_url=None)
    app.include_router(docs_router(PAGES, build))

    async def ask_together() -> set[bytes]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            answers = await asyncio.gather(*(client.get("/openapi.json") for _ in range(5)))
            return {answer.content for answer in answers}

    assert harness.run(ask_together()) == {b'{"openapi":"3.1.0"}'}
    assert harness.run(ask_together()) == {b'{"openapi":"3.1.0"}'}
    assert len(built) == 1
    assert built[0] != threading.current_thread().name


def test_document_without_prefix_names_no_server(harness: AppHarness) -> None:
    assert "servers" not in harness.get("/openapi.json").json()


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000/docs"),
        ("0.0.0.0", "http://localhost:8000/docs"),
        ("::1", "http://[::1]:8000/docs"),
    ],
)
def test_docs_url_can_be_opened_on_this_machine(host: str, url: str) -> None:
    assert docs_url(host, 8000) == url
