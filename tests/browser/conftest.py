"""A real service with two models, and a real Chromium."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, Request, ViewportSize, expect, sync_playwright

from model.bundle.bundle import load_bundle, new_version, write_bundle
from service.api_keys import digest_of
from service.demo import BUNDLE, ITEMS
from tests.deployments import wait_for
from tests.end_to_end.service import KEY, RunningService

APPEND_KEY, READ_KEY = "a-key-that-may-only-append", "a-key-that-may-only-read-on"
WIDE = ViewportSize(width=1280, height=900)


@dataclass
class Console:
    """A page of the console, its writing requests and its errors."""

    page: Page
    url: str
    writes: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def open(self, user: str, key: str | None = KEY) -> None:
        """Open the console for `user`, with `key` in the tab's storage."""
        self.page.goto(self.url + "/healthz")  # a page of the same origin
        if key is not None:
            self.page.evaluate("key => sessionStorage.setItem('recblr-key', key)", key)
        self.page.goto(f"{self.url}/#{user}")
        if key == KEY:
            self.await_list()

    def text(self, selector: str) -> str:
        return self.page.inner_text(selector)

    def focused(self) -> str:
        """Return the label or text of the element with the focus."""
        found: str = self.page.evaluate(
            "() => document.activeElement.ariaLabel || document.activeElement.id || document.activeElement.innerText"
        )
        return found

    def await_list(self) -> None:
        """Wait until recommendations are shown and nothing is loading."""
        expect(self.page.locator("#list > li")).to_have_count(10)
        expect(self.page.locator("#list")).not_to_have_attribute("aria-busy", "true")

    def await_user(self, user: str) -> None:
        expect(self.page).to_have_title(f"{user} · recblr-service console")
        self.await_list()

    def await_status(self, start: str) -> None:
        expect(self.page.locator("#status")).to_contain_text(start)
        self.await_list()


@pytest.fixture(scope="module")  # while it is open, no test of the process can run an event loop
def browser() -> Iterator[Browser]:
    executable = shutil.which("chromium")
    if executable is None:
        raise RuntimeError("Chromium is not installed; `make programs` installs it")
    with sync_playwright() as playwright:
        # As root, which a container often is, Chromium has no sandbox. It opens nothing but this service.
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service with the demo's catalogue and two models."""
    folder = tmp_path_factory.mktemp("service")
    demo = load_bundle(BUNDLE)
    write_bundle(folder / "bundles" / demo.version, demo)
    weights: dict[str, Any] = {name: 1.01 * array for name, array in demo.weights.items()}
    version = new_version(weights, np.datetime64("2099-01-01T00:00:00").item())
    later = replace(demo, version=version, created="2099-01-01T00:00:00+00:00", weights=weights)
    write_bundle(folder / "bundles" / version, later)
    keys = {"RECBLR_API_KEYS": ",".join((KEY, entry("append", APPEND_KEY), entry("read", READ_KEY)))}
    keys["RECBLR_ID_KEYS"] = "key-of-the-ids-of-the-browser-tests"
    with RunningService(folder, f"sqlite:///{folder}/events.db", folder / "bundles", **keys) as running:
        put_items(running, shop_items())
        yield running


def shop_items() -> list[dict[str, Any]]:
    """Return the items of the demo."""
    return [json.loads(line) for line in ITEMS.read_text("utf-8").splitlines()]


def put_items(service: RunningService, items: list[dict[str, Any]]) -> None:
    """Put the items; return when the service answers with them."""
    answer = service.post("/items/batch", {"items": items})
    assert all("changed" in result for result in answer["results"]), answer
    wait_for("the items", lambda: items[-1]["item_id"] in str(service.get("/items", limit=1000)["items"]), 20.0)


@pytest.fixture(params=["light", "dark"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def console(browser: Browser, service: RunningService) -> Iterator[Console]:
    with browser.new_context(viewport=WIDE, reduced_motion="reduce") as context:
        found = watched(context.new_page(), service.url)
        yield found
    assert found.complaints == []


def watched(page: Page, url: str) -> Console:
    """Return the page's console; record errors and writing requests."""
    console = Console(page, url)
    page.on("pageerror", lambda error: console.complaints.append(str(error)))
    page.on("console", lambda message: _record_message(console, message.type, message.text))
    page.on("request", lambda request: _record_write(console, request))
    page.set_default_timeout(20_000)
    expect.set_options(timeout=20_000)
    return console


def _record_message(console: Console, kind: str, text: str) -> None:
    # A refusal's status is in the browser's log whatever the page does with it.
    if kind in ("error", "warning") and "Failed to load resource" not in text:
        console.complaints.append(text)


def _record_write(console: Console, request: Request) -> None:
    if request.method != "GET" and "/rank?" not in request.url:  # a rank request only reads
        console.writes.append(f"{request.method} {request.url.removeprefix(console.url)}")


def entry(scopes: str, key: str) -> str:
    """Return a key's entry of RECBLR_API_KEYS."""
    return f"{scopes}:sha256:{digest_of(key.encode()).hex()}"


def client_of(service: RunningService) -> httpx.Client:
    return httpx.Client(base_url=service.url, headers={"X-API-Key": KEY})
