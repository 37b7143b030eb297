"""A timer for epoll, precise to about 50 microseconds.

The timeout of `epoll_wait` itself has a resolution of one millisecond.
"""

from __future__ import annotations

import ctypes
import os
from types import TracebackType

_LIBC = ctypes.CDLL(None, use_errno=True)
_CLOCK_MONOTONIC = 1  # the clock of time.monotonic() and time.perf_counter() on Linux
_TFD_TIMER_ABSTIME, _TFD_NONBLOCK = 1, os.O_NONBLOCK


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _TimerSpec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class Timer:
    """A Linux timerfd as a context manager (`man timerfd_create`)."""

    def __init__(self) -> None:
        self._descriptor: int = _LIBC.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")

    def __enter__(self) -> Timer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def fileno(self) -> int:
        """Return the descriptor, which is readable after the armed time."""
        return self._descriptor

    def arm(self, at: float) -> None:
        """Set the time, in seconds of `time.perf_counter()`; replaces an earlier one."""
        nanoseconds = max(1, int(at * 1e9))
        value = _Timespec(nanoseconds // 1_000_000_000, nanoseconds % 1_000_000_000)
        setting = _TimerSpec(_Timespec(0, 0), value)
        if _LIBC.timerfd_settime(self._descriptor, _TFD_TIMER_ABSTIME, ctypes.byref(setting), None) != 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")
