"""Slots of a Redis Cluster, and which server owns them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from redis.crc import key_slot

from service.store.redis.deployments.url import Address
from service.store.redis.layout import HASH_TAGS


def slot_of(key: str) -> int:
    """Return the slot of one of the store's keys."""
    return _slot_of_tag(key[: key.index("}") + 1])


@cache
def _slot_of_tag(tag: str) -> int:
    return key_slot(tag.encode())


@cache
def used_slots() -> frozenset[int]:
    """Return the slots that the store's keys can have."""
    return frozenset(_slot_of_tag(tag) for tag in HASH_TAGS)


def parse_slots(ranges: Sequence[Sequence[Any]], source: Address) -> tuple[dict[int, Address], set[Address]]:
    """Parse the reply of `source` to CLUSTER SLOTS.

    Returns the primary of each used slot, and all primaries and replicas.
    """
    owners: dict[int, Address] = {}
    for first, last, primary, *_ in ranges:
        for slot in used_slots():
            if first <= slot <= last:
                owners[slot] = _address(primary, source)
    return owners, {_address(server, source) for _, _, *servers in ranges for server in servers}


def _address(server: Sequence[Any], source: Address) -> Address:
    """Return a server's address. An unknown host means that of `source`."""
    host = (server[0] or b"").decode()
    return Address(host if host not in ("", "?") else source.host, server[1])
