import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from service.core.catalogue.columns.byte_table import ByteTable
from service.core.catalogue.columns.entry_hash import HashKey

entries = st.lists(st.binary(max_size=12), max_size=200)


@settings(max_examples=100, deadline=None)
@given(entries, entries, st.sampled_from([b"", b"\xff"]))
def test_table_finds_what_was_added_in_any_way(
    one_by_one: list[bytes], at_once: list[bytes], separator: bytes
) -> None:
    table, codes = ByteTable(separator), {}
    for entry in one_by_one:
        codes[entry] = table.intern(entry)
    for entry, code in zip(at_once, table.intern_many(at_once).tolist(), strict=True):
        assert codes.setdefault(entry, code) == code
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
    table = ByteTable(key=HashKey(1, 1))  # every hash is 0
    first, second = b"a", b"bc"
    assert (table.intern(first), table.intern(second), table.intern(first)) == (1, 2, 1)
    assert table.find_many([second, first, b"d"]).tolist() == [2, 1, 0]
    assert table.intern_many([b"d", first, b"e", b"d"]).tolist() == [3, 1, 4, 3]


def test_entries_are_compared_with_those_from_a_code_on() -> None:
    table = ByteTable(b"\xff")
    table.add_distinct([b"a", b"bc", b"d", b""])
    assert table.has_at(2, [b"bc", b"d"])
    assert table.has_at(3, [b"d", b""])
    for other in ([b"b", b"cd"], [b"bc", b"x"], [b"bc", b"d", b"", b"e"]):
        assert not table.has_at(2, other)
    assert not ByteTable().has_at(1, [b"a"])


def test_large_table_grows_in_steps_and_finds_everything() -> None:
    table, entries = ByteTable(b"\xff"), [f"entry {number}".encode() for number in range(150_000)]
    for start in range(0, len(entries), 300):
        table.intern_many(entries[start : start + 300])
        assert table.find(entries[start // 2]) == start // 2 + 1
    assert table.find_many(entries).tolist() == list(range(1, len(entries) + 1))
    assert [table.get(code) for code in (1, 70_000, 150_000)] == [entries[code - 1] for code in (1, 70_000, 150_000)]
