from hypothesis import given, settings
from hypothesis import strategies as st

from service.core.catalogue.columns.byte_table import ByteTable
from service.core.catalogue.item_pages import sorted_codes

SHORT = st.text(st.sampled_from("aé\u0800😀z"), max_size=30)


@settings(max_examples=200, deadline=None)
@given(st.lists(SHORT, unique=True))
def test_codes_are_sorted_by_code_points_of_their_entries(texts: list[str]) -> None:
    table = ByteTable(b"\xff")
    table.add_distinct([text.encode() for text in texts])
    assert [texts[code - 1] for code in sorted_codes(table.view()).tolist()] == sorted(texts)
