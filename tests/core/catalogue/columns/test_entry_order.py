from hypothesis import given, settings
from hypothesis import strategies as st

from service.core.catalogue.columns.byte_table import ByteTable
from service.core.catalogue.columns.entry_order import entry_ranks, sorted_codes

SHORT = st.text(st.sampled_from("aé\u0800😀z\0"), max_size=30)


@settings(max_examples=200, deadline=None)
@given(st.lists(SHORT, unique=True))
def test_codes_are_sorted_by_code_points_of_their_entries(texts: list[str]) -> None:
    table = ByteTable(b"\xff")
    table.add_distinct([text.encode() for text in texts])
    assert [texts[code - 1] for code in sorted_codes(table.view()).tolist()] == sorted(texts)


@settings(max_examples=200, deadline=None)
@given(st.lists(SHORT, unique=True), st.lists(SHORT, unique=True))
def test_ranks_order_the_entries_of_two_tables(left: list[str], right: list[str]) -> None:
    views = []
    for texts in (left, right):
        table = ByteTable(b"\xff")
        table.add_distinct([text.encode() for text in texts])
        views.append(table.view())
    one, other = entry_ranks(*views)
    assert one[0] == other[0] == -1
    ranks = [*zip(one[1:].tolist(), left, strict=True), *zip(other[1:].tolist(), right, strict=True)]
    assert sorted(ranks) == sorted(ranks, key=lambda pair: pair[1])
    assert len({rank for rank, _ in ranks}) == len({*left, *right})
