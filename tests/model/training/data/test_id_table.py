"""The table of short ids against a dict."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from model.training.data.id_encoder import IdEncoder
from model.training.data.id_table import MAX_BYTES, IdTable, pack_ids

# Around the sizes at which an id needs a second integer or none; prefixes of each other, and zero bytes.
ODD = [
    *("", "a", "a\0", "a\0\0", "0", "00", "007", "7", "é", "e\u0301", "東京", "東", "\u200f"),
    *("x" * n for n in range(1, 40)),
    *("x" * n + "y" for n in range(40)),
]


def packed_pairs(ids: list[str]) -> list[tuple[int, int]]:
    packed = pack_ids(pa.array(ids, pa.string()))
    return [*zip(packed.low.tolist(), packed.high.tolist(), strict=True)]


def test_short_ids_are_packed_without_collisions() -> None:
    short = sorted({id_ for id_ in ODD if len(id_.encode()) <= MAX_BYTES})
    assert len(set(packed_pairs(short))) == len(short)
    is_long = pack_ids(pa.array(ODD)).is_long.tolist()
    assert is_long == [len(id_.encode()) > MAX_BYTES for id_ in ODD]


def test_packing_does_not_depend_on_the_neighbours() -> None:
    assert packed_pairs(["abc", "de"]) == packed_pairs(["abc"]) + packed_pairs(["de"])
    sliced = pa.array(["zzz", "abc", "de", "q" * 30]).slice(1, 2)
    assert pack_ids(sliced).low.tolist() == pack_ids(pa.array(["abc", "de"])).low.tolist()
    assert len(pack_ids(pa.array([], pa.string())).low) == 0


def test_table_finds_what_was_added_while_it_grows() -> None:
    table, codes = IdTable(), np.arange(5000, dtype=np.int32)
    packed = pack_ids(pa.array([f"user-{n}" for n in range(5000)]))
    assert set(table.find(packed).tolist()) == {-1}
    for part in np.array_split(np.arange(5000), 7):
        table.add(packed.take(part), codes[part])
    assert table.find(packed).tolist() == codes.tolist()
    assert set(table.find(pack_ids(pa.array(["user-5000", "USER-1", ""]))).tolist()) == {-1}


@pytest.mark.parametrize("seed", range(3))
def test_encoder_numbers_ids_as_a_dict_does(seed: int) -> None:
    rng = np.random.default_rng(seed)
    known = ODD + [str(n) for n in range(3000)] + [f"{n:032x}" for n in range(500)]
    encoder = IdEncoder()
    reference: dict[str, int] = {}
    for _ in range(12):
        ids = [known[n] for n in rng.zipf(1.3, 700) % len(known)]
        column = pa.array(ids) if rng.random() < 0.5 else pa.array(ids).dictionary_encode()
        expected = [reference.setdefault(id_, len(reference)) for id_ in ids]
        assert encoder.encode(column).tolist() == expected
    assert len(encoder) == len(reference)
    assert encoder.sorted_by(encoder.ranks()) == list(reference)


def test_dictionary_may_hold_an_id_twice() -> None:
    twice = pa.DictionaryArray.from_arrays(pa.array([0, 1, 2]), pa.array(["a", "b", "a"]))
    assert IdEncoder().encode(twice).tolist() == [0, 1, 0]
