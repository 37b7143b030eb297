"""Rate limit: one token bucket per API key in each worker."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic


class TokenBuckets:
    """Token buckets: `rate` requests per second for each key.

    A key that was idle for a second may send `rate` requests at once.
    """

    def __init__(self, rate: int, count: int, clock: Callable[[], float] = monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._tokens = [float(rate)] * count
        self._filled_at = [clock()] * count

    def take(self, key: int) -> bool:
        """Take one of a key's tokens; return False if none is left.

        A new token is there after a second at the latest, because `rate` is at least 1.
        """
        now = self._clock()
        tokens = min(self._rate, self._tokens[key] + (now - self._filled_at[key]) * self._rate)
        self._filled_at[key] = now
        allowed = tokens >= 1
        self._tokens[key] = tokens - 1 if allowed else tokens
        return allowed
