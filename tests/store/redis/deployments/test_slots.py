"""Slots of a cluster and their owners."""

from __future__ import annotations

from redis.crc import key_slot

from service.store.redis.deployments.slots import parse_slots, slot_of, used_slots
from service.store.redis.deployments.url import Address
from service.store.redis.layout import RECORDS_KEY, keys

LAST_SLOT = 16383
SOURCE = Address("10.0.0.9", 7000)


def test_slot_of_a_key_is_the_slot_that_redis_computes() -> None:
    for key in (*keys("u"), *keys("{x}"), RECORDS_KEY):
        assert slot_of(key) == key_slot(key.encode())
        assert slot_of(key) in used_slots()


def test_first_server_of_a_range_owns_its_slots() -> None:
    ranges = [
        [0, 8000, [b"10.0.0.1", 7001, b"id"], [b"10.0.0.2", 7002, b"id"]],
        [8001, LAST_SLOT, [b"10.0.0.3", 7003]],
    ]
    owners, members = parse_slots(ranges, SOURCE)
    assert owners.keys() == used_slots()
    assert {slot: owner.port for slot, owner in owners.items()} == {
        slot: 7001 if slot <= 8000 else 7003 for slot in used_slots()
    }
    assert members == {Address(f"10.0.0.{n}", 7000 + n) for n in (1, 2, 3)}


def test_slots_outside_every_range_have_no_owner() -> None:
    covered = sorted(used_slots())[:3]
    owners, _ = parse_slots([[slot, slot, [b"10.0.0.1", 7001]] for slot in covered], SOURCE)
    assert sorted(owners) == covered


def test_unknown_host_means_the_server_that_replied() -> None:
    for host in (b"", None, b"?"):
        owners, members = parse_slots([[0, LAST_SLOT, [host, 7001]]], SOURCE)
        assert set(owners.values()) == members == {Address("10.0.0.9", 7001)}
