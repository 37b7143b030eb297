import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from service.core.catalogue.columns.byte_table import ByteTable

entries = st.lists(st.binary(max_size=12), max_size=200)


@settings(max_examples=100, deadline=None)
@given(entries, entries, st.sampled_from([b"", b"\xff"]))
def test_table_finds_what_was_added_in_any_way(
    one_by_one: list[bytes], at_once: list[bytes], separator: bytes
) -> None:
    table, codes = ByteTable(separator), {}
    for entry in one_by_one:
        codes[entry] = table.intern(entry)
    new = [entry for entry in dict.fromkeys(at_once) if entry not in codes]
    table.add_distinct(new)
    codes.update({entry: len(table) - len(new) + 1 + index for index, entry in enumerate(new)})
    assert len(table) == len(codes)
    assert {entry: table.get(code) for entry, code in codes.items()} == {entry: entry for entry in codes}
    asked = [*codes, b"never added"]
    assert [table.find(entry) for entry in asked] == [*codes.values(), 0]
    assert table.find_many(asked).tolist() == [*codes.values(), 0]


@settings(max_examples=100, deadline=None)
@given(entries, st.randoms())
def test_subset_has_some_entries_under_new_codes(added: list[bytes], rng: random.Random) -> None:
    table = ByteTable(b"\xff")
    codes = sorted({table.intern(entry) for entry in added})
    kept = [code for code in codes if rng.random() < 0.5]
    subset = table.subset(np.array(kept, np.int64))
    assert [subset.get(code) for code in range(1, len(kept) + 1)] == [table.get(code) for code in kept]
    assert [subset.find(table.get(code)) for code in kept] == list(range(1, len(kept) + 1))
    assert subset.intern(b"later, and longer than any") == len(kept) + 1


def test_entries_with_one_hash_are_told_apart() -> None:
    class Same(bytes):
        def __hash__(self) -> int:
            return 7

    table = ByteTable()
    first, second = Same(b"a"), Same(b"bc")
    assert (table.intern(first), table.intern(second), table.intern(first)) == (1, 2, 1)
    assert table.find_many([second, first, Same(b"d")]).tolist() == [2, 1, 0]
