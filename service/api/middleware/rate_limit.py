"""How often each API key may call: a token bucket for each, in this worker process alone."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic


class TokenBuckets:
    """`rate` requests a second for each of `count` keys. A key that was idle may use a second's worth at once."""

    def __init__(self, rate: int, count: int, clock: Callable[[], float] = monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._tokens = [float(rate)] * count
        self._filled = [clock()] * count

    def take(self, key: int) -> bool:
        """Whether the key of this index may make a request now; if so it has made it.

        There is a token after a second at the latest, whatever the rate.
        """
        now = self._clock()
        tokens = min(self._rate, self._tokens[key] + (now - self._filled[key]) * self._rate)
        self._filled[key] = now
        allowed = tokens >= 1
        self._tokens[key] = tokens - 1 if allowed else tokens
        return allowed
