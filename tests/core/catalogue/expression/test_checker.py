from __future__ import annotations

from difflib import get_close_matches

import pytest

from service.core.catalogue.expression import checker
from service.core.catalogue.expression.checker import check, suggestion
from service.core.catalogue.expression.parser import parse
from service.core.catalogue.expression.syntax import ExpressionError
from tests.core.catalogue.expressions import TYPES


@pytest.mark.parametrize(
    ("text", "problem", "offset", "suggestion"),
    [
        ("prise < 1", "no attribute 'prise'; did you mean 'price'?", 0, "price"),
        ("Price < 1", "no attribute 'Price'; did you mean 'price'?", 0, "price"),
        ("sale AND categorie IS NULL", "no attribute 'categorie'; did you mean 'categories'?", 9, "categories"),
        ("zzz = 1", "no attribute 'zzz'", 0, None),
        ("price = 'x'", "'price' is a number, but the constant is a string", 8, None),
        ("brand = 1", "'brand' is a string, but the constant is a number", 8, None),
        ("brand IN ('a', 1)", "'brand' is a string, but the constant is a number", 15, None),
        ("sale < TRUE", "'sale' is true or false: compare it with = or <>", 0, None),
        ("price = TRUE", "'price' is a number, but the constant is true or false", 0, None),
        ("tags = 'x'", "'tags' is a set of strings; write 'x' IN tags", 0, None),
        ("'x' IN brand", "'brand' is no set of strings; a list stands in parentheses", 7, None),
        ("1 IN tags", "'tags' is a string, but the constant is a number", 0, None),
        ("brand IN tags", "only a string or a parameter can be looked up in a set", 0, None),
        ("until > '2026-12-24'", "'2026-12-24' is not a time like 2026-12-24T18:00:00Z, with an offset or Z", 8, None),
        ("price > now()", "'price' is a number, but now() is a time", 8, None),
        ("price = brand", "'price' is a number, but a string", 8, None),
        ("price LIKE 'x'", "'price' is a number, but LIKE is for strings", 0, None),
        ("brand LIKE 'x!' ESCAPE '!'", "after the escape character comes %, _ or itself", 11, None),
        ("brand LIKE 'x' ESCAPE 'ab'", "ESCAPE needs one character in quotation marks", 22, None),
        ("price", "'price' is a number, no condition", 0, None),
        ("'x'", "is a value, no condition", 0, None),
        ("1 = 2", "one side must be an attribute", 4, None),
        (":a = 2", "one side must be an attribute", 5, None),
        (" OR ".join(["brand LIKE '%a'"] * 9), "has more than 8 of LIKE, < <= > >= on strings and comparisons of two strings", 152, None),
    ],
)  # fmt: skip
def test_wrong_names_and_types_are_refused(text: str, problem: str, offset: int, suggestion: str | None) -> None:
    with pytest.raises(ExpressionError) as caught:
        check(parse(text), TYPES)
    assert (caught.value.problem, caught.value.offset, caught.value.suggestion) == (problem, offset, suggestion)


def test_reserved_names_win_over_attributes() -> None:
    checked = check(parse("title = 'x'"), {**TYPES, "title": TYPES["price"]})
    assert checked.parameters == {}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("prise", "price"),
        ("colour", "color"),
        ("caetgories", "categories"),
        ("release", "release_date"),
        ("xyz", None),
    ],
)
def test_suggestion_is_that_of_a_full_comparison(name: str, meant: str | None) -> None:
    names = ["price", "color", "categories", "release_date", "stock", "title", "brand", "popularity"]
    assert suggestion(name, names) == meant
    assert get_close_matches(name, names, n=1) == ([] if meant is None else [meant])


def test_suggestion_compares_few_of_many_long_names(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[str, list[str]]] = []

    def recorded(name: str, names: list[str], n: int) -> list[str]:
        compared.append((name, names))
        return get_close_matches(name, names, n=n)

    monkeypatch.setattr(checker, "get_close_matches", recorded)
    names = ["ab" * 30 + f"{number:04}" for number in range(1000)]
    assert suggestion("ab" * 30 + "0o07", names) in names
    suggestion("ab" * 2000, names)
    assert max(len(others) for _, others in compared) <= 3
    assert max(len(name) for name, _ in compared) <= 64
