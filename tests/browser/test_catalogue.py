"""The catalogue and the filter of the console in a real browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import READ_KEY, Console, client_of, put_items, shop_items
from tests.end_to_end.service import RunningService


@pytest.fixture
def put(service: RunningService) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Replace an item of the shop during the test."""
    yield lambda item: put_items(service, [item])
    put_items(service, shop_items())


def search(console: Console, text: str) -> None:
    console.page.fill("#find-input", text)
    console.page.press("#find-input", "Enter")
    expect(console.page.locator("#found")).not_to_be_empty()


def names(console: Console, where: str = "#list > li > .row") -> list[str]:
    return console.page.locator(f"{where} .name").all_inner_texts()


def test_item_that_is_switched_off_leaves_the_list_and_comes_back(console: Console, service: RunningService) -> None:
    console.open("shopper")
    page = console.page
    best, *others = names(console)
    assert not best.startswith("Item ")  # the titles of the catalogue
    search(console, best.upper())
    page.locator("#results .pick").first.click()
    expect(page.locator("#item h3")).to_have_text(best)
    expect(page.locator("#item-place")).to_have_text("Place 1 in this list.")
    assert "price" in console.text("#item dl") and "new" in console.text("#item dl")
    switch = page.get_by_role("switch")
    expect(switch).to_be_checked()
    switch.click()
    expect(page.locator("#item-status")).to_contain_text(f"{best} is off. It left the list after")
    console.await_list()
    assert best not in names(console) and names(console)[:9] == others
    expect(page.locator("#results .off").first).to_be_visible()
    with client_of(service) as client:
        found = client.get("/v1/items", params={"filter": "NOT available"}).json()["items"]
    assert [item["title"] for item in found] == [best]
    expect(page.get_by_role("switch")).not_to_be_checked()
    page.get_by_role("switch").click()
    expect(page.locator("#item-status")).to_contain_text("It is back at place 1 after")
    console.await_list()
    assert names(console) == [best, *others]
    assert all(write.startswith("PATCH ") for write in console.writes) and len(console.writes) == 2


def test_keyboard_alone_finds_an_item_and_switches_it(
    console: Console, put: Callable[[dict[str, Any]], None]
) -> None:
    put({"item_id": "camping-1", "title": "Tent for keys", "categories": ["camping"]})
    console.open("typist")
    press = console.page.keyboard.press
    console.page.focus("#find-input")
    console.page.keyboard.type("for keys")
    press("Enter")
    expect(console.page.locator("#results .pick")).to_have_count(1)
    for _ in range(2):
        press("Tab")
    press("Enter")
    expect(console.page.locator("#item")).to_be_focused()
    press("Tab")
    expect(console.page.get_by_role("switch")).to_be_focused()
    press("Space")
    expect(console.page.locator("#item-status")).to_contain_text("is off")
    expect(console.page.get_by_role("switch")).to_be_focused()
    press("Space")
    expect(console.page.locator("#item-status")).to_contain_text("is on")


def test_titles_are_text_and_odd_ones_are_found(console: Console, put: Callable[[dict[str, Any]], None]) -> None:
    odd = "<img src=x onerror=alert(1)> 100%_'\"! <b>ä</b>"
    put({"item_id": "camping-1", "title": odd, "categories": ["<i>x</i>"], "attributes": {"brand": "<u>y</u>"}})
    console.open("reader")
    search(console, "100%_'\"! <b>")
    assert names(console, "#results") == [odd]
    console.page.locator("#results .pick").first.click()
    expect(console.page.locator("#item h3")).to_have_text(odd)
    assert "<i>x</i>" in console.text("#item") and "<u>y</u>" in console.text("#item")
    assert console.page.locator("main img, main b, main i, main u").count() == 0
    search(console, "nothing has this")
    expect(console.page.locator("#found")).to_have_text("No title of the catalogue has this text.")


def test_filter_counts_the_items_it_leaves_and_limits_the_list(console: Console) -> None:
    console.open("chooser")
    page = console.page
    page.fill("#filter-input", "'camping' IN categories AND title LIKE 'C%'")
    page.press("#filter-input", "Enter")
    expect(page.locator("#filter-status")).to_contain_text("3 of 64 items of the catalogue fulfil this")
    expect(page.locator("#list > li")).to_have_count(3)
    assert sorted(names(console)) == ["Camp stove", "Camping chair", "Cooking pot"]
    assert "Only 3 items can be shown." in console.text("#about")
    page.click("#filter-clear")
    console.await_list()
    assert console.text("#filter-status") == ""


def test_mistake_in_a_filter_is_marked_and_can_be_corrected(console: Console) -> None:
    console.open("chooser")
    page = console.page
    page.fill("#filter-input", "new OR prise < 50")
    page.press("#filter-input", "Enter")
    expect(page.locator("#filter-status mark")).to_have_text("prise")
    assert "No attribute 'prise'; did you mean 'price'? Line 1, column 8:" in console.text("#filter-status")
    expect(page.locator("#filter-input")).to_be_focused()
    selected = page.evaluate("[document.activeElement.selectionStart, document.activeElement.selectionEnd]")
    assert selected == [7, 12]
    console.await_list()  # the list is still the one without a filter
    page.click("#filter-status button")
    expect(page.locator("#filter-status")).to_contain_text("of 64 items")
    assert page.input_value("#filter-input") == "new OR price < 50"


def test_names_to_filter_by_are_offered_with_their_types(console: Console) -> None:
    console.open("chooser")
    page = console.page
    page.click("#filter-help summary")
    page.locator("#filter-names .chip", has_text="price").click()
    assert page.input_value("#filter-input") == "price < 50"
    page.locator("#filter-names .chip", has_text="categories").click()
    assert page.input_value("#filter-input") == "price < 50 AND 'text' IN categories"


def test_key_without_the_scope_cannot_switch_an_item(console: Console) -> None:
    console.open("onlooker", READ_KEY)
    console.await_list()
    console.page.locator("#list .pick").first.click()
    console.page.get_by_role("switch").click()
    expect(console.page.locator("#alert")).to_contain_text("catalogue")
    expect(console.page.get_by_role("switch")).to_be_checked()
