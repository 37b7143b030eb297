"""The timer of the open loop."""

from __future__ import annotations

import select
import time

from loadtests.generator.timerfd import Timer


def test_timer_wakes_epoll_at_the_armed_time() -> None:
    with Timer() as timer, select.epoll() as poll:
        poll.register(timer.fileno(), select.EPOLLIN)
        timer.arm(time.perf_counter() + 60)
        assert poll.poll(0.01) == []
        at = time.perf_counter() + 0.05
        timer.arm(at)
        assert poll.poll(10) == [(timer.fileno(), select.EPOLLIN)]
        assert time.perf_counter() >= at
