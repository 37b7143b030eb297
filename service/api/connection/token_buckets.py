"""Token buckets of callers, in each worker."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from time import monotonic

MAX_BUCKETS = 10_000


class Bucket:
    """Tokens of one caller; a token pays for one ordinary request."""

    __slots__ = ("_clock", "_filled_at", "_rate", "_tokens")

    def __init__(self, rate: int, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._clock = clock
        self._tokens = float(rate)
        self._filled_at = clock()

    def take(self) -> bool:
        """Take a token; return False if none is left."""
        self._fill()
        allowed = self._tokens >= 1
        if allowed:
            self._tokens -= 1
        return allowed

    def is_empty(self) -> bool:
        """Return whether `take` would return False."""
        self._fill()
        return self._tokens < 1

    def charge(self, units: float) -> None:
        """Take tokens for work beyond the request itself.

        Such work is known only after the request was admitted. The bucket may go into
        debt: the work is done, and later requests wait until it is paid.
        """
        self._tokens -= units

    def admit(self, units: float) -> bool:
        """Take tokens before the work; False if in debt."""
        self._fill()
        if self._tokens < 0:
            return False
        self._tokens -= units
        return True

    def seconds_until_token(self) -> int:
        """Return the whole seconds after which a token is there."""
        return max(1, math.ceil((1 - self._tokens) / self._rate))

    def _fill(self) -> None:
        now = self._clock()
        self._tokens = min(self._rate, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now


def network_of(client: tuple[str, int] | None) -> str:
    """Return the account of an address.

    It is the address itself, or the /64 network of an IPv6 address.
    """
    if client is None or ":" not in client[0]:
        return "" if client is None else client[0]
    address = ip_address(client[0].partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return address.exploded[:19]


class TokenBuckets:
    """Buckets of `rate` tokens per second for each caller.

    A caller that was idle for a second may send `rate` requests at once. The buckets of callers that have not called
    for longest are forgotten beyond `MAX_BUCKETS`.
    """

    def __init__(self, rate: int, clock: Callable[[], float] = monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def of(self, caller: str) -> Bucket:
        """Return the caller's bucket."""
        bucket = self._buckets.get(caller)
        if bucket is None:
            bucket = self._buckets[caller] = Bucket(self._rate, self._clock)
            if len(self._buckets) > MAX_BUCKETS:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(caller)
        return bucket
