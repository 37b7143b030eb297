from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from service.core.catalogue.columns.byte_table import ByteTable
from service.core.catalogue.columns.coded_columns import SEPARATOR, encode_text
from service.core.catalogue.expression.text_match import AmongMatch, LikeMatch, OrderedMatch, TextMatch
from tests.core.catalogue.reference import COMPARISONS, like, nfc

texts = st.text(st.sampled_from("abé%_\0\ud800😀"), max_size=20)
tables = st.lists(texts, max_size=30)
pieces = st.lists(
    st.sampled_from(["%", "_", "a", "b", "ab", "é", "😀", "!%", "!_", "!!", "abababab", "\0"]), max_size=6
)


def selected(match: TextMatch, listed: list[str]) -> dict[str, bool]:
    table = ByteTable(SEPARATOR)
    codes = {nfc(text): table.intern(encode_text(text)) for text in listed}
    found = match.select(table)
    assert not found[0]
    one_by_one = {text: match.matches(encode_text(text)) for text in codes}
    assert one_by_one == {text: bool(found[code]) for text, code in codes.items()}
    return one_by_one


@settings(max_examples=300, deadline=None)
@given(tables, pieces)
def test_like_selects_what_a_plain_matching_does(listed: list[str], parts: list[str]) -> None:
    pattern = "".join(parts)
    found = selected(LikeMatch(pattern, "!"), listed)
    assert found == {text: like(text, pattern, "!") for text in found}


@settings(max_examples=200, deadline=None)
@given(tables, texts, st.sampled_from(["<", "<=", ">", ">="]))
def test_strings_are_ordered_by_code_points(listed: list[str], value: str, operator: str) -> None:
    found = selected(OrderedMatch(operator, encode_text(value)), listed)
    assert found == {text: COMPARISONS[operator](text, nfc(value)) for text in found}


@settings(max_examples=100, deadline=None)
@given(tables, st.lists(texts, max_size=5))
def test_listed_strings_are_selected(listed: list[str], values: list[str]) -> None:
    found = selected(AmongMatch(frozenset(map(encode_text, values))), listed)
    assert found == {text: text in set(map(nfc, values)) for text in found}


def test_pattern_of_many_wildcards_takes_no_time_on_a_long_string() -> None:
    match = LikeMatch("%a" * 100 + "%b", None)
    assert not match.matches(b"a" * 1024)
    assert match.matches(b"a" * 1024 + b"b")
    assert not LikeMatch("%a%" + "_%" * 500 + "ab", None).matches(b"ab" * 512 + b"c")
