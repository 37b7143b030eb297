"""Examples and limits of the page about filters."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from service.core.catalogue import filter_cache
from service.core.catalogue.attributes import AttributeType
from service.core.catalogue.expression import checker, parameter_values, parser, tokens

PAGE = (Path(__file__).parents[2] / "docs" / "filters.md").read_text("utf-8")
TYPES = {
    **dict.fromkeys(("price", "list_price", "stock", "x"), AttributeType.NUMBER),
    **dict.fromkeys(("brand",), AttributeType.STRING),
    **dict.fromkeys(("adult", "sale"), AttributeType.BOOL),
    **dict.fromkeys(("until", "added"), AttributeType.TIME),
    **dict.fromkeys(("countries", "tags"), AttributeType.STRINGS),
}


def section(title: str) -> str:
    return PAGE.split(f"## {title}\n")[1].split("\n## ")[0]


def examples() -> list[str]:
    rows = [line.split("|") for line in section("Ten examples").splitlines() if line.startswith("| ")][1:]
    return [re.findall("`([^`]+)`", row[2])[0] for row in rows]


def test_there_are_ten_examples() -> None:
    assert len(examples()) == 10


@pytest.mark.parametrize(
    "text",
    [*examples(), *re.findall("```sql\n(.*?)\n```", PAGE, re.S), *re.findall("`(x [^`]+)`", section("Grammar"))],
)
def test_example_is_accepted(text: str) -> None:
    checker.check(parser.parse(text), TYPES)


def test_refusal_on_the_page_is_that_of_the_code() -> None:
    with pytest.raises(Exception, match="no attribute 'prise'; did you mean 'price'"):
        checker.check(parser.parse("prise < 50"), TYPES)
    assert "no attribute 'prise'; did you mean 'price'?" in PAGE


def test_limits_are_those_of_the_code() -> None:
    rows = [line.strip("| ").split(" | ") for line in section("Limits").splitlines() if line.startswith("| ")][1:]
    numbers = [int(re.findall(r"[\d,]+", row[1])[0].replace(",", "")) for row in rows]
    assert numbers == [
        tokens.MAX_CHARACTERS,
        tokens.MAX_OPERATORS,
        tokens.MAX_NESTING,
        checker.MAX_TEXT_SEARCHES,
        parameter_values.MAX_LIST,
        parameter_values.MAX_CHARACTERS,
        parser.MAX_INTERVAL_DAYS,
        filter_cache.MAX_COMPILING,
    ]
