"""Rate-limited logger, for warnings that an outage would repeat with every request."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

MIN_INTERVAL_SECONDS = 1.0


class ThrottledLogger:
    """Logs at most one warning per code and second.

    Each one carries the number of warnings that were suppressed before it.
    """

    def __init__(self, log: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._logged_at: dict[str, float] = {}
        self._suppressed: dict[str, int] = {}

    def warn(self, code: str, message: str, **fields: str) -> None:
        """Log `message` with `fields`, at most once a second per `code`."""
        now = self._clock()
        if now - self._logged_at.get(code, float("-inf")) < MIN_INTERVAL_SECONDS:
            self._suppressed[code] = self._suppressed.get(code, 0) + 1
            return
        self._logged_at[code] = now
        self._log.warning(message, extra={"code": code, **fields, "suppressed": self._suppressed.pop(code, 0)})
