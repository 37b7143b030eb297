"""Parsing of large JSON in slices."""

from __future__ import annotations

import asyncio
import json
from json import JSONDecodeError
from time import perf_counter
from typing import Any

import pytest

from service.api.schemas.incremental_json import MAX_ROW_CHARACTERS, ROW_TOO_LONG, parse_rows

ROW = {"item_id": "i", "title": 'a "quoted" \\ title, ✓ \u2028', "attributes": {"n": [1, 2.5e3, -0.0, None, True]}}


def parse(text: str) -> dict[str, Any]:
    return asyncio.run(parse_rows(text, "items"))


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"items": []},
        {"items": [ROW] * 3, "mode": "put"},
        {"mode": {"items": [1]}, "items": [[], {}, "x", 1, -2.5, None, False]},
        {"items": {"not": "a list"}},
        {"items": [{"title": "x" * n} for n in (8_180, 8_190, 8_200, 9_000, 100_000)]},
        {"items": list(range(20_000))},
        {"items": ["\\" * 5_000, '"' * 5_000, "é" * 10_000]},
    ],
)
@pytest.mark.parametrize("form", [{}, {"indent": 3}, {"ensure_ascii": False}, {"separators": (",", ":")}])
def test_json_is_parsed_as_the_standard_library_does(value: Any, form: dict[str, Any]) -> None:
    text = json.dumps(value, **form)
    assert parse(text) == value
    assert parse(f" \n\t{text}\r\n") == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "1",
        "{",
        '{"items"',
        '{"items":',
        '{"items":[',
        '{"items":[1',
        '{"items":[1,',
        '{"items":[1,]}',
        '{"items":[1 2]}',
        '{"items":[]',
        '{"items":[]}}',
        '{"items":[],}',
        "{1:2}",
        '{"items":[NaN]}',
        '{"items":[-Infinity]}',
        '{"items":[tru]}',
        '{"items":["\t"]}',
        '{"items":[' + "[" * 100_000,
        '{"items":[{"a":01}]}',
    ],
)
def test_text_that_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(JSONDecodeError):
        parse(text)
    if text:
        with pytest.raises(JSONDecodeError) as refused:  # also far from the end
            parse(text + " " * 20_000 if text[-1] in "}]" else text + "," + "1," * 20_000)
        assert refused.value.msg != ROW_TOO_LONG


def test_entry_that_is_too_long_is_refused_as_such() -> None:
    for entry in ("x" * MAX_ROW_CHARACTERS, list(range(100_000))):
        with pytest.raises(JSONDecodeError, match=ROW_TOO_LONG):
            parse(json.dumps({"items": [1, entry, 2]}))


def test_other_work_runs_while_four_mebibytes_are_parsed() -> None:
    text = json.dumps({"items": [{"item_id": f"{n}", "vector": [0.125] * 580} for n in range(1000)]})
    assert len(text) > 3_900_000

    async def count_passes() -> int:
        parsing = asyncio.create_task(parse_rows(text, "items"))
        passes = 0
        while not parsing.done():
            await asyncio.sleep(0)
            passes += 1
        return passes

    began = perf_counter()
    json.loads(text)
    whole = perf_counter() - began
    assert asyncio.run(count_passes()) > min(8, whole / 0.004)
