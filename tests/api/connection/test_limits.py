"""The timer that closes slow connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import cast

import pytest

from service.api.connection.limits import ConnectionLimits


class FakeLoop:
    """Event loop whose timers are run by the test."""

    def __init__(self) -> None:
        self.due: list[Callable[[], None]] = []

    def time(self) -> float:
        return 0.0

    def call_later(self, delay: float, callback: Callable[..., None], *arguments: object) -> None:
        self.due.append(partial(callback, *arguments))


class SlowConnection:
    """Connection that notes when it is checked; closing a broken one fails."""

    def __init__(self, *, broken: bool = False) -> None:
        self.checks = 0
        self._broken = broken

    def check_deadline(self, now: float) -> None:
        self.checks += 1
        if self._broken:
            raise RuntimeError("the transport is gone")

    def eviction_order(self, now: float) -> tuple[int, float] | None:
        return None

    def evict(self) -> None:
        raise AssertionError("nothing is evicted here")


def test_connection_that_cannot_be_closed_does_not_stop_the_timer(caplog: pytest.LogCaptureFixture) -> None:
    broken, sound = SlowConnection(broken=True), SlowConnection()
    clock = FakeLoop()
    tested = ConnectionLimits(cast(asyncio.AbstractEventLoop, clock), {broken, sound})
    assert tested.admit(sound)
    for _ in range(3):
        clock.due.pop()()
    assert (broken.checks, sound.checks) == (3, 3)
    assert "cannot close a slow connection" in caplog.text


def test_many_connections_are_checked_some_at_a_time() -> None:
    connections = {SlowConnection() for _ in range(1000)}
    clock = FakeLoop()
    tested = ConnectionLimits(cast(asyncio.AbstractEventLoop, clock), connections)
    assert tested.admit(next(iter(connections)))
    for rounds in range(1, 4):
        seen = rounds * 1000 - 1000
        for _ in range(4):
            clock.due.pop()()
            assert not clock.due[1:]
            assert 0 < sum(each.checks for each in connections) - seen <= 256
            seen = sum(each.checks for each in connections)
        assert {each.checks for each in connections} == {rounds}
