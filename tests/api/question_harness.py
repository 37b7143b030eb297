"""A shop's catalogue, and every way to ask for its items."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.api.app_harness import AppHarness

Json = dict[str, Any]
Ask = Callable[[AppHarness, Json], Json]


def put_items(harness: AppHarness, items: list[Json], mode: str = "put") -> str:
    """Write items, and wait until the worker's copy has them."""
    response = harness.post("/v1/items/batch", json={"items": items, "mode": mode})
    assert response.status_code == 200, response.text
    assert not [each for each in response.json()["results"] if "error" in each], response.text
    harness.run(services(harness).catalogue.sync.poll())
    revision: str = services(harness).catalogue.copy.revision
    return revision


def services(harness: AppHarness) -> Any:
    return harness.app.state.services


def ok(response: Any) -> Json:
    assert response.status_code == 200, response.text
    body: Json = response.json()
    return body


def query_of(question: Json) -> Json:
    """Return the question as query parameters."""
    parameters = {f"param.{name}": value for name, value in question.get("params", {}).items()}
    listed = {"fields": ",".join(question["fields"])} if "fields" in question else {}
    return {name: value for name, value in question.items() if name not in ("params", "fields")} | parameters | listed


def read(harness: AppHarness, question: Json) -> Json:
    return ok(harness.get("/v1/users/u/recommendations", params=query_of(question)))


def ask(harness: AppHarness, question: Json) -> Json:
    return ok(harness.post("/v1/users/u/recommendations", json=question))


def record(harness: AppHarness, question: Json) -> Json:
    event = {"user_id": "u", "item_id": "25", "event_id": "e1"}
    found: Json = ok(harness.post("/v1/events", params=query_of(question), json=event))["recommendations"]
    return found


def record_with_body(harness: AppHarness, question: Json) -> Json:
    more = {name: value for name, value in question.items() if name not in ("k", "exclude_seen")}
    event = {"user_id": "u", "item_id": "25", "event_id": "e1"} | more
    query = {name: value for name, value in question.items() if name in ("k", "exclude_seen")}
    found: Json = ok(harness.post("/v1/events", params=query, json=event))["recommendations"]
    return found


def stateless(harness: AppHarness, question: Json) -> Json:
    return ok(harness.post("/v1/recommendations", json={"history": ["25"], **question}))


def similar(harness: AppHarness, question: Json) -> Json:
    query = {name: value for name, value in query_of(question).items() if name != "exclude_seen"}
    return ok(harness.get("/v1/items/25/similar", params=query))


def cold(harness: AppHarness, question: Json) -> Json:
    return ok(harness.get("/v1/users/nobody/recommendations", params=query_of(question)))


ASKS: list[Ask] = [read, ask, record, record_with_body, stateless, similar, cold]
all_questions = pytest.mark.parametrize("question", ASKS)


def ids(answer: Json) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def open_shop(folder: Path, *, fast_path: bool) -> AppHarness:
    """Items 1 to 50: prices, sets, booleans, a title in UTF-8."""
    harness = AppHarness(folder, fast_path=fast_path).start()
    items = [
        {
            "item_id": str(number),
            "title": f"Größe {number}",
            "categories": ["even" if number % 2 == 0 else "odd", f"d{number % 10}"],
            "attributes": {"price": number, "new": number > 40, "sizes": ["S", "M"] if number % 3 == 0 else ["L"]},
        }
        for number in range(1, 51)
    ]
    put_items(harness, items)
    return harness
