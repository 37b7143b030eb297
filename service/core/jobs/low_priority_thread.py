"""Low priority for threads whose work takes seconds, not milliseconds."""

from __future__ import annotations

import os
import sys
import threading

# Not 19, the lowest: requests would wait for a holder of the GIL that rarely runs (decision 0059).
_NICENESS = 10


def lower_thread_priority() -> None:
    """Lower the priority of the calling thread, until it ends.

    It cannot be undone, because raising a priority needs a privilege. Does nothing except on Linux, the only system
    on which each thread has a niceness of its own.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
