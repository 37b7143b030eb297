"""Tests of low-priority threads."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.core.jobs.low_priority_thread import lower_thread_priority


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.skipif(sys.platform != "linux", reason="only on Linux each thread has a niceness of its own")
def test_only_the_calling_thread_gets_a_lower_priority() -> None:
    before = niceness()
    with ThreadPoolExecutor(1, initializer=lower_thread_priority) as thread:
        assert thread.submit(niceness).result() == 10
    assert niceness() == before
