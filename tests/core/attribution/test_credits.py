"""Credits and counters: what a text adds, and what counters say."""

from __future__ import annotations

from service.core.attribution.credits import USER_SHARDS, Counts, additions, parse_counters, shard_of, total
from service.store.redis.attribution_pages import attribution_key, shard_key
from service.store.redis.layout import SHARDS, keys

CREDIT = "c1o1v-19990000 p:0:2026:with:colons:3 x:0a0b0c0d:2026:with:colons"


def test_credit_adds_every_amount_to_every_counter() -> None:
    assert additions(CREDIT) == [
        ("p:0:2026:with:colons:3:c", 1),
        ("p:0:2026:with:colons:3:o", 1),
        ("p:0:2026:with:colons:3:v", -19_990_000),
        ("x:0a0b0c0d:2026:with:colons:c", 1),
        ("x:0a0b0c0d:2026:with:colons:o", 1),
        ("x:0a0b0c0d:2026:with:colons:v", -19_990_000),
    ]


def test_counters_are_parsed_by_what_they_count() -> None:
    found = parse_counters({**dict(additions(CREDIT)), "p:0:2026:1:i": 20, "z:of a later release:q": 1, "odd": 2})
    counts = Counts(0, 1, 1, -19_990_000)
    assert found.positions == {(0, "2026:with:colons", 3): counts, (0, "2026", 1): Counts(20)}
    assert found.experiments == {("0a0b0c0d", "2026:with:colons"): counts}
    assert counts.value == -19.99


def test_counters_of_later_pages_are_added_and_replace_those_on_both() -> None:
    found = parse_counters({"p:0:v:1:c": 2, "p:0:v:1:i": 3})
    assert parse_counters({"p:0:v:1:c": 5, "p:0:v:2:c": 7}, found) is found
    assert found.positions == {(0, "v", 1): Counts(3, 5), (0, "v", 2): Counts(0, 7)}


def test_totals_are_sums() -> None:
    assert total([Counts(1, 2, 3, 4), Counts(10, 20, 30, 40)]) == Counts(11, 22, 33, 44)
    assert total([]) == Counts()


def test_shards_are_those_of_the_redis_keys() -> None:
    for user in ("u", "ünï", "x" * 200):
        assert keys(user)[2] == f"{{{shard_of(user)}}}:stream"
        assert shard_key(shard_of(user)) == attribution_key(user) == f"{{{shard_of(user)}}}:attribution"
    assert USER_SHARDS == SHARDS
