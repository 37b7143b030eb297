"""How full a Redis server is."""

from __future__ import annotations

import math
import time

_FULL_SECONDS = 5.0  # after a refusal: the used memory goes up and down about the limit


class MemoryWatch:
    """Used fraction of a server's memory limit."""

    def __init__(self) -> None:
        self._refused_at = -math.inf

    def refused(self) -> None:
        """Note that the server has refused a write for lack of memory."""
        self._refused_at = time.monotonic()

    def fraction(self, info: bytes) -> float | None:
        """Return the fraction by the reply to INFO; None without a limit."""
        found = dict(line.split(b":", 1) for line in info.splitlines() if b":" in line)
        limit, uncounted = int(found[b"maxmemory"]), int(found.get(b"mem_not_counted_for_evict", 0))
        used = (int(found[b"used_memory"]) - uncounted) / limit if limit else None
        return max(used or 0.0, 1.0) if time.monotonic() < self._refused_at + _FULL_SECONDS else used
