"""Threads whose work takes seconds, beside requests that take milliseconds."""

from __future__ import annotations

import os
import sys
import threading

# Not the lowest: whoever waits for the GIL waits for the thread that has it, however seldom that one runs.
_NICENESS = 10


def lower_thread_priority() -> None:
    """Have this thread leave its core, mostly, to whoever wants it. Only on Linux is niceness a thread's own.

    It ends with the thread: not everybody may undo it.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
