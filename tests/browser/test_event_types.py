"""Events with a type and a value on the console."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, ViewportSize, expect

from tests.browser.conftest import WIDE, Console, watched
from tests.browser.test_console import LOW_CONTRAST, NARROW, TOO_WIDE, log_of
from tests.end_to_end.service import RunningService


def test_keyboard_records_a_purchase_with_its_value(console: Console, service: RunningService) -> None:
    page = console.page
    console.open("buyer")
    page.check("#mode-write")
    page.focus("#type-input")
    page.keyboard.type("purchase")
    page.keyboard.press("Tab")
    assert console.focused() == "value-input"
    page.keyboard.type("49,90")
    page.focus("#item-input")
    page.keyboard.type("camping-2")
    page.keyboard.press("Enter")
    console.await_status("Event 1 stored as purchase")
    expect(page.locator("#events li")).to_contain_text("event 1 · purchase · value 49.9 · ")
    assert [(event["type"], event["value"]) for event in log_of(service, "buyer")] == [("purchase", 49.9)]
    assert (page.input_value("#type-input"), page.input_value("#value-input")) == ("purchase", "")
    page.fill("#user-input", "another buyer")
    page.press("#user-input", "Enter")
    console.await_user("another buyer")
    assert page.input_value("#type-input") == ""


def test_disliked_item_leaves_the_list_until_the_dislike_is_undone(console: Console, service: RunningService) -> None:
    page = console.page
    console.open("critic")
    page.check("#mode-write")
    page.uncheck("#unseen")
    console.await_list()
    best = page.locator("#list .name").first.inner_text()
    page.fill("#type-input", "dislike")
    page.locator("#list .record").first.click()
    console.await_status("Event 1 stored as dislike")
    expect(page.locator("#events li")).to_contain_text("event 1 · dislike · ")
    assert best not in page.locator("#list .name").all_inner_texts()
    page.click("#events .undo")
    console.await_status("Event 1 undone")
    assert page.locator("#list .name").first.inner_text() == best


@pytest.mark.parametrize(
    ("field", "text", "problem"),
    [("#value-input", "a lot", "A value is a number"), ("#type-input", "Purchase", "type")],
)
def test_mistake_in_a_field_is_told_and_stores_nothing(
    console: Console, service: RunningService, field: str, text: str, problem: str
) -> None:
    console.open("mistaken")
    console.page.check("#mode-write")
    console.page.fill(field, text)
    console.page.locator("#list .record").first.click()
    expect(console.page.locator("#alert")).to_contain_text(problem)
    assert log_of(service, "mistaken") == []


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_types_are_readable_and_inside_the_window(
    browser: Browser, service: RunningService, tmp_path: Path, scheme: Literal["light", "dark"], size: ViewportSize
) -> None:
    user, longest = f"reader-{scheme}-{size['width']}", "t" * 32
    for kind, value in (("view", None), (longest, -1e12), ("dislike", None), ("purchase", 19.99)):
        event = {"user_id": user, "item_id": "camping-1", "type": kind, "value": value}
        service.post("/events", {name: given for name, given in event.items() if given is not None})
    with browser.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce") as context:
        console = watched(context.new_page(), service.url)
        console.open(user)
        console.page.check("#mode-write")
        console.page.fill("#type-input", longest)
        console.page.fill("#value-input", "-1000000000000.00")
        expect(console.page.locator("#events li")).to_have_count(4)
        assert console.page.evaluate(LOW_CONTRAST) == []
        assert console.page.evaluate(TOO_WIDE) == []
        console.page.screenshot(path=Path(os.environ.get("SCREENSHOTS", tmp_path)) / f"{user}.png", full_page=True)
        assert console.complaints == []
