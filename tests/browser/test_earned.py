"""Plots of earnings on the console."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Browser, expect

from service.demo import BUNDLE
from tests.browser.conftest import READ_KEY, WIDE, Console, client_of, watched
from tests.browser.test_console import LOW_CONTRAST, TOO_WIDE
from tests.end_to_end.service import RunningService


def shop(client: httpx.Client, user: str) -> None:
    """Show three items; the user opens and buys the second."""
    answer = client.get(f"/v1/users/{user}/recommendations?k=3").json()
    items = [item["item_id"] for item in answer["items"]]
    common: dict[str, Any] = {"user_id": user, "recommendation_id": answer["recommendation_id"]}
    events = [{**common, "item_id": item, "type": "impression"} for item in items]
    events += [{**common, "item_id": items[1]}, {**common, "item_id": items[1], "type": "purchase", "value": 5}]
    results = client.post("/v1/events/batch", json={"events": events}).json()["results"]
    assert all("sequence" in result for result in results), results


def test_counts_rates_and_tests_are_shown_as_plots(console: Console, service: RunningService, scheme: str) -> None:
    with client_of(service) as client:
        for number in range(5):
            shop(client, f"earned-{scheme}-{number}")
        versions = [each["model_version"] for each in client.get("/v1/admin/experiments").json()["versions"]]
    console.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    console.open("anyone")
    console.page.click("#earned summary")
    expect(console.page.locator("#earned-facts details summary").first).to_have_text(versions[0])
    assert "conversions" in console.text("#earned-facts")
    rates = console.page.get_by_role("img", name="Clicks per impression, with 95 % intervals")
    expect(rates).to_be_visible()
    assert rates.locator("circle").count() == len(versions)
    bars = console.page.get_by_role("img", name="Clicks per impression by position")
    assert bars.locator("rect").count() == 3
    assert console.page.evaluate(LOW_CONTRAST) == []
    assert console.page.evaluate(TOO_WIDE) == []
    assert console.writes == []


def test_key_without_administration_is_told_so(console: Console) -> None:
    console.open("anyone", READ_KEY)
    console.page.click("#earned summary")
    expect(console.page.locator("#alert")).to_contain_text("scope")
    expect(console.page.locator("#key")).to_be_visible()


def test_server_without_keys_says_what_to_set_and_asks_for_no_key(browser: Browser, tmp_path: Path) -> None:
    with (
        RunningService(tmp_path, f"sqlite:///{tmp_path}/events.db", BUNDLE, RECBLR_API_KEYS="") as service,
        browser.new_context(viewport=WIDE) as context,
    ):
        console = watched(context.new_page(), service.url)
        console.open("anyone", None)
        console.await_list()
        console.page.click("#earned summary")
        expect(console.page.locator("#earned-facts")).to_contain_text("RECBLR_API_KEYS")
        expect(console.page.locator("#key")).to_be_hidden()
        expect(console.page.locator("#alert")).to_be_hidden()
    assert console.complaints == []


def test_recorded_recommendation_carries_its_id(console: Console, service: RunningService) -> None:
    console.open("clicker")
    console.page.check("#mode-write")
    console.page.locator("#list .record").first.click()
    console.await_status("Event 1 stored")
    with client_of(service) as client:
        [event] = client.get("/v1/users/clicker/events").json()["events"]
    assert event["recommendation_id"].startswith("i")
