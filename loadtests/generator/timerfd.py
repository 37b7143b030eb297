"""A timer that a selector can wait for, precise to some 50 microseconds (`epoll` alone rounds to milliseconds)."""

from __future__ import annotations

import ctypes
import os
from types import TracebackType

_LIBC = ctypes.CDLL(None, use_errno=True)
_CLOCK_MONOTONIC = 1  # what time.monotonic() and time.perf_counter() read on Linux
_ABSOLUTE, _NONBLOCK = 1, os.O_NONBLOCK


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Setting(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class Timer:
    """A Linux timerfd. `fileno` becomes readable at the time last armed; a context manager."""

    def __init__(self) -> None:
        self._descriptor: int = _LIBC.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")

    def __enter__(self) -> Timer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def fileno(self) -> int:
        """For a selector."""
        return self._descriptor

    def arm(self, at: float) -> None:
        """Become readable at `at`, seconds of time.perf_counter(); this replaces any earlier time."""
        nanoseconds = max(1, int(at * 1e9))
        value = _Timespec(nanoseconds // 1_000_000_000, nanoseconds % 1_000_000_000)
        setting = _Setting(_Timespec(0, 0), value)
        if _LIBC.timerfd_settime(self._descriptor, _ABSOLUTE, ctypes.byref(setting), None) != 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")
