"""The console in a real browser."""

from __future__ import annotations

from itertools import count
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, ViewportSize, expect

from tests.browser.conftest import APPEND_KEY, READ_KEY, Console, client_of, watched
from tests.end_to_end.service import RunningService

NARROW = ViewportSize(width=360, height=740)
WIDE = ViewportSize(width=1280, height=900)

# The contrast of each text with what is painted behind it, by WCAG 2.1, where it is below 4.5.
LOW_CONTRAST = """() => {
  const channels = (color) => color.match(/[\\d.]+/g).map(Number);
  const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => [r, g, b].map((v) => linear(v / 255))
    .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const found = channels(getComputedStyle(node).backgroundColor);
      if (found.length === 3 || found[3] > 0) return found;
    }
    return [255, 255, 255];
  };
  const low = [];
  for (const node of document.querySelectorAll('body *')) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    if (!own || !node.checkVisibility()) continue;
    const [a, b] = [light(channels(getComputedStyle(node).color)), light(behind(node))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) low.push(`${node.tagName} ${node.innerText.slice(0, 30)}: ${ratio.toFixed(2)}`);
  }
  return low;
}"""
# What reaches over the right edge of the window, or of its own box.
TOO_WIDE = """() => [...document.querySelectorAll('body, body *')].filter((node) => {
  const { display, overflowX } = getComputedStyle(node);
  const spills = display !== 'inline' && overflowX === 'visible' && node.scrollWidth > node.clientWidth + 1;
  if (!node.checkVisibility()) return false;
  return spills || node.getBoundingClientRect().right > innerWidth + 0.5;
}).map((node) => `${node.tagName} ${node.id} ${node.className}`)"""


def log_of(service: RunningService, user: str) -> list[dict[str, Any]]:
    with client_of(service) as client:
        events: list[dict[str, Any]] = client.get(f"/v1/users/{user}/events").json().get("events", [])
        return events


def send(service: RunningService, user: str, *items: str) -> None:
    for number, item in enumerate(items):
        service.post("/events", {"user_id": user, "item_id": item, "event_id": f"{user}-{number}"})


def test_looking_at_a_user_writes_nothing_until_the_mode_is_changed(
    console: Console, service: RunningService
) -> None:
    send(service, "customer", "camping-1")
    console.open("customer")
    page = console.page
    assert page.is_checked("#mode-view")
    page.locator("#list .pick").first.click()
    expect(page.locator("#item h3")).to_be_visible()
    page.locator("#list .similar").first.click()
    page.locator("#list .like .pick").first.click()
    page.locator("#events .pick").first.click()
    expect(page.locator("#item h3")).to_have_text("Tent")
    assert not page.locator(".writes").locator("visible=true").count()
    assert console.writes == []
    assert len(log_of(service, "customer")) == 1
    page.check("#mode-write")
    page.locator("#list .record").first.click()
    console.await_status("Event 2 stored")
    assert len(log_of(service, "customer")) == 2
    page.fill("#user-input", "another customer")
    page.click("#user-form .main")
    console.await_user("another customer")
    assert page.is_checked("#mode-view")


def test_user_of_an_ab_test_sees_the_model_that_answered(console: Console, service: RunningService) -> None:
    with client_of(service) as client:
        live, tested = (model["version"] for model in sorted_models(client, service))
        assert client.post("/v1/admin/test", json={"version": tested, "share": 0.5}).status_code == 200
        try:
            users = (f"user-{number}" for number in count())
            answers = {version_for(client, user): user for user, _ in zip(users, range(40), strict=False)}
            assert set(answers) == {live, tested}
            for version, user in answers.items():
                console.open(user)
                expect(console.page.locator("#version")).not_to_have_text("…")
                assert console.text("#answered-by") == f"Answered by {version}."
                assert console.text("#version") == live
                assert f"A/B test: {tested} answers 50 % of the users" in console.text("#model-facts")
        finally:
            assert client.post("/v1/admin/test/end", json={"winner": live}).status_code == 200


def sorted_models(client: Any, service: RunningService) -> list[dict[str, Any]]:
    """Return the live model, and the other one of the registry."""
    live = client.get("/v1/model").json()
    other = "20990101" if not live["version"].startswith("2099") else ""
    names = [path.name for path in service.bundles.iterdir() if path.name != live["version"]]
    return [live, {"version": next(name for name in names if name.startswith(other))}]


def version_for(client: Any, user: str) -> str:
    return str(client.get(f"/v1/users/{user}/recommendations?k=1").json()["model_version"])


@pytest.mark.parametrize("key", [APPEND_KEY, "a-key-that-nobody-has-made"], ids=["403", "401"])
def test_refused_key_can_be_forgotten_and_replaced(console: Console, key: str) -> None:
    console.open("ann", key)
    console.page.wait_for_selector("#key", state="visible")
    assert "scope" in console.text("#alert") or "key" in console.text("#alert")
    console.page.click("#key-forget")
    expect(console.page.locator("#alert")).to_contain_text("This server needs an API key")
    assert console.page.evaluate("sessionStorage.getItem('recblr-key')") is None
    assert not console.page.is_visible("#key-forget")
    console.page.fill("#key-input", READ_KEY)
    console.page.keyboard.press("Enter")
    console.await_list()
    assert not console.page.is_visible("#key")
    assert not console.page.is_visible("#alert")


def test_back_and_forward_lead_through_the_users(console: Console) -> None:
    console.open("ann")
    for user in ("bob", "cleo"):
        console.page.fill("#user-input", user)
        console.page.keyboard.press("Enter")
        console.await_user(user)
    for move, user in (
        (console.page.go_back, "bob"),
        (console.page.go_back, "ann"),
        (console.page.go_forward, "bob"),
    ):
        move()
        console.await_user(user)
        assert console.page.input_value("#user-input") == user
        assert console.page.url.endswith(f"#{user}")


def test_focus_stays_among_the_undo_buttons(console: Console, service: RunningService) -> None:
    send(service, "dora", "camping-1", "camping-2", "camping-3")
    console.open("dora")
    console.page.check("#mode-write")
    undo = console.page.locator("#events .undo")
    undo.nth(1).focus()
    for sequence, following in ((2, "Undo event 1:"), (1, "Undo event 3:"), (3, "item-input")):
        console.page.keyboard.press("Enter")
        console.await_status(f"Event {sequence} undone")
        assert console.focused().startswith(following)
    assert log_of(service, "dora") == []


def test_keyboard_alone_records_and_undoes_an_event(console: Console, service: RunningService) -> None:
    console.open("emil")
    console.page.focus("#user-input")
    press = console.page.keyboard.press
    seen = []
    for wanted in ("mode-view", "Record an event"):
        while not console.focused().startswith(wanted):
            press("Tab")
            seen.append(console.focused())
            assert len(seen) < 40, seen
        press("ArrowDown" if wanted == "mode-view" else "Shift")  # the mode is a group of radio buttons
    assert console.page.evaluate("document.activeElement.classList.contains('record')")
    assert console.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    press("Enter")
    console.await_status("Event 1 stored")
    console.page.wait_for_selector("#events li")
    assert console.page.evaluate("document.activeElement.closest('#list') !== null")
    assert len(log_of(service, "emil")) == 1


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_is_readable_and_inside_the_window(
    browser: Browser, service: RunningService, scheme: Literal["light", "dark"], size: ViewportSize
) -> None:
    send(service, "f" * 120, "camping-1", "x" * 256, "hiking-3")
    with browser.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce") as context:
        console = watched(context.new_page(), service.url)
        console.open("f" * 120)
        console.page.check("#mode-write")
        console.page.locator("#list .similar").first.click()
        console.page.wait_for_selector("#list .like .pick")
        console.page.fill("#find-input", "t")
        console.page.press("#find-input", "Enter")
        console.page.locator("#results .pick").first.click()
        console.page.wait_for_selector("#item dl")
        console.page.click("#filter-help summary")
        console.page.wait_for_selector("#filter-names .chip")
        console.page.fill("#filter-input", "prise < 5 " + "AND title <> 'x'" * 20)
        console.page.press("#filter-input", "Enter")
        console.page.wait_for_selector("#filter-status mark")
        expect(console.page.locator("#version")).not_to_have_text("…")
        assert console.page.evaluate(LOW_CONTRAST) == []
        assert console.page.evaluate(TOO_WIDE) == []
        background = console.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, background[4:-1].split(","))) < 384) == (scheme == "dark")
        assert console.complaints == []


@pytest.mark.parametrize("user", [".", "..", "a/b", "../x", "50% é +&?#"])
def test_any_id_of_a_user_can_be_shown_written_and_deleted(
    console: Console, service: RunningService, user: str
) -> None:
    page = console.page
    console.open("other")
    page.fill("#user-input", user)
    page.press("#user-input", "Enter")
    console.await_user(user)
    page.check("#mode-write")
    page.fill("#item-input", "camping-1")
    page.press("#item-input", "Enter")
    expect(page.locator("#events .undo")).to_have_count(1)
    page.reload()
    console.await_user(user)
    page.check("#mode-write")
    page.click("#events .undo")
    expect(page.locator("#events .undo")).to_have_count(0)
    with client_of(service) as client:
        assert client.get("/v1/user", params={"user_id": user}).json()["sequence"] == 1
