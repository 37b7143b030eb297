"""Warnings that an outage would repeat with every request, once a second each."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable


class ThrottledLogger:
    """Writes at most one warning of a code in a second, and with it how many before it were held back."""

    def __init__(self, log: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._written: dict[str, float] = {}
        self._held_back: dict[str, int] = {}

    def warn(self, code: str, message: str, **fields: str) -> None:
        """Write `message` with `fields`, unless a warning of this code was written less than a second ago."""
        now = self._clock()
        if now - self._written.get(code, float("-inf")) < 1.0:
            self._held_back[code] = self._held_back.get(code, 0) + 1
            return
        self._written[code] = now
        self._log.warning(
            message, extra={"code": code, **fields, "held_back_since_last": self._held_back.pop(code, 0)}
        )
