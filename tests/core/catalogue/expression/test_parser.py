from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.core.catalogue.expression import syntax
from service.core.catalogue.expression.parser import parse
from service.core.catalogue.expression.syntax import ExpressionError
from service.core.catalogue.expression.tokens import MAX_CHARACTERS, MAX_NESTING, MAX_OPERATORS
from tests.core.catalogue.expressions import conditions, render

PRICE = syntax.Name(0, "price")


def refused(text: str) -> tuple[str, int]:
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    return caught.value.problem, caught.value.offset


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("price<50", syntax.Comparison(0, "<", PRICE, syntax.Literal(6, 50.0))),
        ("price != -1.5e1", syntax.Comparison(0, "<>", PRICE, syntax.Literal(10, -15.0))),
        ("price NOT IN (:p, NULL)", syntax.Not(0, syntax.InList(0, PRICE, (syntax.ParameterName(14, "p"), syntax.Literal(0, None))))),
        ("'it''s' IN price", syntax.InName(0, syntax.Literal(0, "it's"), syntax.Name(11, "price"))),
        ("order = 1", syntax.Comparison(0, "=", syntax.Name(0, "order"), syntax.Literal(8, 1.0))),
        ('"a b" IS NULL', syntax.NullCheck(0, syntax.Name(0, "a b"))),
        ("t > now() - interval '2 days'", syntax.Comparison(0, ">", syntax.Name(0, "t"), syntax.Now(4, -172_800_000_000))),
        ("now() + INTERVAL 1.5 hour < t", syntax.Comparison(0, "<", syntax.Now(0, 5_400_000_000), syntax.Name(28, "t"))),
        ("now = TRUE", syntax.Comparison(0, "=", syntax.Name(0, "now"), syntax.Literal(0, True))),
        ("a OR b AND NOT c", syntax.Or(0, (syntax.Truth(0, syntax.Name(0, "a")), syntax.And(5, (syntax.Truth(5, syntax.Name(5, "b")), syntax.Not(15, syntax.Truth(15, syntax.Name(15, "c")))))))),
    ],
)  # fmt: skip
def test_expression_becomes_a_tree_with_offsets(text: str, tree: syntax.Condition) -> None:
    assert parse(text) == tree


@pytest.mark.parametrize(
    "name", ["select", "case", "any", "if", "date", "group", "show", "interval_", "type", "größe"]
)
def test_words_of_sql_are_names_like_others(name: str) -> None:
    assert parse(f"{name} = 1") == syntax.Comparison(0, "=", syntax.Name(0, name), syntax.Literal(len(name) + 3, 1.0))


@pytest.mark.parametrize(
    ("text", "problem", "offset"),
    [
        ("", "is empty", 0),
        ("a = ", "ends unfinished after '='", 3),
        ("a = 1 AND", "ends unfinished after 'AND'", 9),
        ("a b", "unexpected 'b'", 2),
        ("a = 1 -- c", "unexpected '-'", 7),
        ("a = 1 /* c */", "unexpected '/'", 6),
        ("a = 1; b", "unexpected ';'", 5),
        ("a.b = 1", "unexpected '.'", 1),
        ("a::int = 1", "unexpected ':'", 1),
        ("a = 'x", "a quotation mark is not closed", 4),
        ("((a = 1)", "a parenthesis is not closed", 8),
        ("a = 1)", "a parenthesis is closed that was not opened", 5),
        ("lower(a) = 'x'", "the only function is now()", 0),
        ("a IN (SELECT 1)", "unexpected '1'", 13),
        ("a = b = c", "an attribute, a constant or a parameter is expected here", 0),
        ("(a = 1) IS NULL", "an attribute, a constant or a parameter is expected here", 1),
        ("a = 'x' 'y'", "unexpected 'y'", 8),
        ("a + 1 = 2", "only now() can be added to, as in now() - INTERVAL '7' DAY", 0),
        ("a IS TRUE", "unexpected 'TRUE'", 5),
        ("a = 1e999", "a number is too large", 4),
        ("a IN ()", "the list of IN is empty", 0),
        ("a IN 'b'", "IN needs a list in parentheses or a set of strings", 5),
        ("t > now() - INTERVAL '5' FORTNIGHT", "an interval is like INTERVAL '7' DAY, in SECOND, MINUTE, HOUR, DAY or WEEK", 4),
        ("t > now() - INTERVAL '999999' DAY", "an interval is like INTERVAL '7' DAY, in SECOND, MINUTE, HOUR, DAY or WEEK", 4),
        ("a BETWEEN SYMMETRIC 1 AND 2", "unexpected '1'", 20),
        ("a = :b(1)", "unexpected '('", 6),
        ("a ILIKE 'x'", "unexpected 'ILIKE'", 2),
        ("a = {{x}}", "unexpected '{'", 4),
        ("a = $1", "unexpected '$1'", 4),
        ("a = ?", "unexpected '?'", 4),
        ("a = 0x10", "unexpected 'x10'", 5),
    ],
)  # fmt: skip
def test_anything_else_is_refused_with_its_offset(text: str, problem: str, offset: int) -> None:
    assert refused(text) == (problem, offset)


def test_length_operators_and_nesting_are_bounded() -> None:
    assert refused("a" * (MAX_CHARACTERS + 1))[0] == "has 4097 characters; at most 4096 are allowed"
    chain = " AND ".join(["a"] * (MAX_OPERATORS + 1))
    assert isinstance(parse(chain), syntax.And)
    assert refused(chain + " OR a")[0] == "has more than 64 of AND, OR and NOT"
    for opening, closing in (("(", ")"), ("NOT ", ""), ("NOT (", ")")):
        deep = MAX_NESTING if len(opening) < 5 else MAX_NESTING // 2
        parse(opening * deep + "a" + closing * deep)
        assert refused(opening * (deep + 1) + "a" + closing * (deep + 1))[0] == "is nested more than 16 deep"


@settings(max_examples=300, deadline=None)
@given(conditions)
def test_written_tree_is_read_back(tree: syntax.Condition) -> None:
    assert render(parse(render(tree))) == render(tree)


# fmt: off
_PARTS = ["a", "b", "'x'", "1", "(", ")", "NOT", "AND", "OR", "IN", "LIKE", "ESCAPE", "IS", "NULL", "BETWEEN", "<", "=", ",",
          ":", "-", "+", "now", "INTERVAL", "DAY", "TRUE", '"q"', "SELECT", "CASE", "*", ".", "[", "::", "||", "--", "é"]
# fmt: on


@settings(max_examples=800, deadline=500)
@given(st.lists(st.sampled_from(_PARTS), max_size=60))
def test_no_text_fails_in_another_way_or_takes_long(parts: list[str]) -> None:
    try:
        parse(" ".join(parts))
    except ExpressionError as error:
        assert 0 <= error.offset <= len(" ".join(parts))


@settings(max_examples=300, deadline=500)
@given(st.text(max_size=80))
def test_no_characters_fail_in_another_way(text: str) -> None:
    try:
        parse(text)
    except ExpressionError as error:
        assert 0 <= error.offset <= len(text)
