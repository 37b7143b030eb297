"""Credits: what an event adds to the counters of attribution.

A credit is a text, which the log keeps with the event, so that an undo subtracts what the append added:

    <amounts> <counter> [<counter>]      such as   c1o1v19990000 p:0:20261128T052316Z-3cf3d5d7:3

Amounts are letters with whole numbers: i impressions, c clicks, o conversions, v value in millionths. Every amount is
added to every counter, under the name "<counter>:<letter>":

    p:<placement>:<model version>:<position>
    x:<experiment>:<model version>      if the answer was given during an A/B test

Each of the 64 shards of users has counters of its own. Backends keep them as names and whole numbers.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import add
from typing import NamedTuple, Protocol

USER_SHARDS = 64
COUNTERS_ON_A_PAGE = 64  # some 0.1 ms of Redis and of the event loop
MICRO = 1_000_000  # a value's unit in a counter

_AMOUNT = re.compile(r"([a-z])(-?[0-9]+)")


class CounterPage(NamedTuple):
    """Page of a shard's counters; the first has no cursor."""

    shard: int
    cursor: str = ""


class CounterStore(Protocol):
    """Part of `core.ports.Store` that keeps the counters.

    They are changed by appends and undos of events with a credit, and by nothing else.
    """

    async def attribution_counters(self, pages: Sequence[CounterPage]) -> list[tuple[dict[str, int], str]]:
        """Return some counters by name, and the next cursor, for each page.

        The last cursor is "". A counter may be on two pages of a shard. Raises `StoreUnavailable`.
        """
        ...


def shard_of(user_id: str) -> int:
    """Return the shard of the user's counters."""
    return zlib.crc32(user_id.encode()) % USER_SHARDS


def additions(credit: str) -> list[tuple[str, int]]:
    """Return what a credit adds, by name of the counter."""
    amounts, *counters = credit.split(" ")
    return [
        (f"{counter}:{letter}", int(amount)) for counter in counters for letter, amount in _AMOUNT.findall(amounts)
    ]


Amounts = tuple[int, int, int, int]  # the fields of `Counts`


class Counts(NamedTuple):
    """Counted events, and their value."""

    impressions: int = 0
    clicks: int = 0
    conversions: int = 0
    micro_value: int = 0

    @property
    def value(self) -> float:
        """Sum of the values."""
        return self.micro_value / MICRO

    def plus(self, other: Amounts) -> Counts:
        """Return the sums."""
        return Counts(*map(add, self, other))


_FIELDS = {"i": 0, "c": 1, "o": 2, "v": 3}  # indices in `Counts`
_NONE = Counts()


@dataclass(slots=True)
class ShardCounts:
    """Counters of one shard.

    Attributes:
        positions: By placement, model version and position. A year of versions has 200,000 in all shards, and the
            garbage collector visits no plain tuples of numbers.
        experiments: By experiment and model version.
    """

    positions: dict[tuple[int, str, int], Amounts] = field(default_factory=dict)
    experiments: dict[tuple[str, str], Counts] = field(default_factory=dict)


def parse_counters(counters: Mapping[str, int], found: ShardCounts | None = None) -> ShardCounts:
    """Return a shard's counters by what they count; skip unknown names.

    They are added to those `found` on earlier pages. Of a counter on two pages the later amount counts.
    """
    found = ShardCounts() if found is None else found
    for name, amount in counters.items():
        kind, _, rest = name.partition(":")
        counter, _, letter = rest.rpartition(":")
        group, _, rest = counter.partition(":")
        if letter not in _FIELDS:
            continue
        if kind == "p":
            version, _, position = rest.rpartition(":")
            key = (int(group), version, int(position))
            found.positions[key] = _with(found.positions.get(key, _NONE), letter, amount)
        elif kind == "x":
            arm = (group, rest)
            found.experiments[arm] = Counts(*_with(found.experiments.get(arm, _NONE), letter, amount))
    return found


def _with(counts: Amounts, letter: str, amount: int) -> Amounts:
    amounts = [*counts]
    amounts[_FIELDS[letter]] = amount
    impressions, clicks, conversions, micro_value = amounts
    return impressions, clicks, conversions, micro_value


def total(counts: Iterable[Counts]) -> Counts:
    """Return the sum of counts."""
    result = _NONE
    for each in counts:
        result = result.plus(each)
    return result
