"""Turns of connections that ask for more than an ordinary request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from service.api.connection import turns
from service.api.connection.turns import MIN_PAUSE_SECONDS, PAUSE_FACTOR, Turns
from service.core.heavy_work import LightRequests


class FakeLoop:
    """Event loop whose next callback is run by the test."""

    def __init__(self) -> None:
        self.now = 100.0
        self.due: list[tuple[float, Callable[[], None]]] = []
        self.pauses: list[float] = []

    def time(self) -> float:
        return self.now

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.call_later(0.0, callback)

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        self.pauses.append(round(delay, 6))
        self.due.append((self.now + delay, callback))

    def run(self) -> None:
        while self.due:
            self.now, callback = self.due.pop(0)
            callback()


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> FakeLoop:
    loop = FakeLoop()
    monkeypatch.setattr(turns, "perf_counter", loop.time)
    return loop


def turns_of(loop: FakeLoop, *, light: bool) -> Turns:
    requests = LightRequests(loop.time)
    if light:
        requests.note()
    return Turns(cast(asyncio.AbstractEventLoop, loop), requests)


@pytest.mark.parametrize("light", [True, False])
def test_work_gets_turns_in_order_and_pauses_only_beside_light_requests(loop: FakeLoop, light: bool) -> None:
    tested, done = turns_of(loop, light=light), list[str]()

    def work(name: str, seconds: float) -> Callable[[], None]:
        def run() -> None:
            done.append(name)
            loop.now += seconds
            if name == "a":
                tested.ask(work("again", 0.0))

        return run

    for name, seconds in (("a", 0.0), ("b", 0.01), ("c", 0.0)):
        tested.ask(work(name, seconds))
    loop.run()
    assert done == ["a", "b", "c", "again"]
    expected = [0.0, MIN_PAUSE_SECONDS, PAUSE_FACTOR * 0.01, MIN_PAUSE_SECONDS]
    assert loop.pauses == (expected if light else [0.0] * 4)
    tested.ask(work("later", 0.0))
    assert loop.pauses[-1] == (MIN_PAUSE_SECONDS if light else 0.0)


def test_work_that_fails_does_not_stop_the_others(loop: FakeLoop) -> None:
    tested, done = turns_of(loop, light=True), list[int]()

    def fail() -> None:
        raise ZeroDivisionError

    tested.ask(fail)
    tested.ask(lambda: done.append(1))
    with pytest.raises(ZeroDivisionError):
        loop.run()
    loop.run()
    assert done == [1]
