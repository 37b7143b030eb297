"""Validation errors as sentences."""

from __future__ import annotations

import json

import pytest

from tests.api.app_harness import AppHarness
from tests.api.conftest import KEY

GOOD = {"user_id": "u", "item_id": "1"}

JSON = {"content-type": "application/json"}

FINITE = "must be a finite number"

RANGE = "must be between 1970-01-01 and 9999-12-31"

MILLISECONDS = "looks like milliseconds; send Unix seconds"

CONTROL = "must not contain control characters, such as line breaks or tabs"


def test_details_name_field_and_never_repeat_input(harness: AppHarness) -> None:
    secret = "hunter2-" * 60
    response = harness.post("/v1/recommendations", json={"history": ["1", "2", secret], secret: secret})
    error = harness.refused(422, response)
    assert {"field": "history.2", "problem": "must have at most 256 characters"} in error["details"]
    assert secret not in response.text


@pytest.mark.parametrize(
    ("field", "sent", "problem"),
    [
        ("timestamp", "NaN", FINITE),
        ("timestamp", "-Infinity", FINITE),
        ("timestamp", "1e999", FINITE),
        ("timestamp", "1700000000000", MILLISECONDS),
        ("timestamp", "1700000000000000", RANGE),
        ("timestamp", "-1", RANGE),
        ("timestamp", "9" * 400, RANGE),
        ("timestamp", '"0001-01-01T00:00:00+20:00"', RANGE),
        ("timestamp", '"nan"', "must be an ISO 8601 string or Unix seconds as a number"),
        ("item_id", '"a\\tb"', CONTROL),
        ("event_id", '"a\\u0085"', CONTROL),
        ("item_id", '""', "must have at least 1 character"),
    ],
)
def test_sentence_names_the_rule(harness: AppHarness, field: str, sent: str, problem: str) -> None:
    event = {name: json.dumps(value) for name, value in GOOD.items()} | {field: sent}
    body = "{" + ", ".join(f'"{name}": {value}' for name, value in event.items()) + "}"
    error = harness.refused(422, harness.post("/v1/events", content=body, headers=JSON))
    assert error["details"] == [{"field": field, "problem": problem}]


def test_sentence_for_empty_list_and_invalid_version(guarded: AppHarness) -> None:
    headers = {"x-api-key": KEY}
    empty = guarded.refused(422, guarded.post("/v1/events/batch", json={"events": []}, headers=headers))
    assert empty["details"] == [{"field": "events", "problem": "must have at least 1 entry"}]
    version = guarded.refused(422, guarded.post("/v1/admin/reload", json={"version": "../x"}, headers=headers))
    assert version["details"][0]["problem"].startswith("must begin with a letter or digit")


def test_details_list_at_most_20_fields(harness: AppHarness) -> None:
    response = harness.post("/v1/recommendations", json={"history": [1] * 1000})
    assert len(harness.refused(422, response)["details"]) == 20


def test_wrong_content_type_is_named(harness: AppHarness) -> None:
    response = harness.post("/v1/events", content=json.dumps(GOOD), headers={"content-type": "text/plain"})
    assert "Content-Type: application/json" in harness.refused(422, response)["details"][0]["problem"]
    assert harness.get("/v1/users/u").status_code == 404
