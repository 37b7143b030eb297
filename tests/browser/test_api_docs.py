"""The page of the API documentation in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from service.demo import BUNDLE
from tests.browser.conftest import WIDE, watched
from tests.conformance.proxies import PREFIX, Way, running_nginx
from tests.end_to_end.service import KEY, RunningService


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Way]]:
    folder = tmp_path_factory.mktemp("docs")
    with (
        RunningService(folder, f"sqlite:///{folder}/events.db", BUNDLE, RECBLR_ROOT_PATH=PREFIX) as service,
        running_nginx(folder / "nginx", int(service.url.rpartition(":")[2])) as proxied,
    ):
        yield [Way("direct", service.url), *proxied]


@pytest.mark.parametrize("number", range(4), ids=["direct", "proxy", "prefix left", "prefix removed"])
def test_page_shows_every_operation_and_calls_them_without_another_server(
    browser: Browser, ways: list[Way], number: int, tmp_path: Path
) -> None:
    base = ways[number].base
    paths = httpx.get(f"{base}/openapi.json").json()["paths"]
    asked: list[str] = []
    with browser.new_context(viewport=WIDE) as context:
        console = watched(context.new_page(), base)
        page = console.page
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{base}/docs")
        expect(page.locator(".opblock")).to_have_count(sum(len(operations) for operations in paths.values()))
        page.click("button.authorize")
        page.fill("input[aria-label='auth-bearer-value']", KEY)
        page.click(".modal-ux button[aria-label='Apply credentials'] >> nth=0")
        page.click(".modal-ux .close-modal")
        page.click("#operations-model-read_model .opblock-summary-control")
        page.click("#operations-model-read_model button.execute")
        answer = page.locator("#operations-model-read_model .live-responses-table .response")
        expect(answer.locator(".response-col_status")).to_contain_text("200")
        expect(answer).to_contain_text("ndcg@10")
        page.screenshot(path=tmp_path / "docs.png")
    assert console.complaints == []
    assert f"{base}/v1/model" in asked
    assert [url for url in asked if not url.startswith((f"{base}/", "data:", "blob:"))] == []
