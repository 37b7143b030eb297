"""WorkSlots of connections that ask for more than an ordinary request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import pytest

from service.api.connection import work_slots
from service.api.connection.work_slots import MAX_ANSWER_SECONDS, MIN_PAUSE_SECONDS, PAUSE_FACTOR, WorkSlots
from service.core.recommending.heavy_work import LightRequests


@dataclass
class Timer:
    """Callback that is due at a time."""

    due: float
    callback: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


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

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        self.pauses.append(round(delay, 6))
        timer = Timer(self.now + delay, callback)
        self.due.append(timer)
        return timer

    def run(self) -> None:
        while self.due:
            timer = self.due.pop(0)
            self.now = max(self.now, timer.due)
            if not timer.cancelled:
                timer.callback()


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> FakeLoop:
    loop = FakeLoop()
    monkeypatch.setattr(work_slots, "perf_counter", loop.time)
    return loop


def slots_of(loop: FakeLoop, *, light: bool) -> WorkSlots:
    requests = LightRequests(loop.time)
    if light:
        requests.newest = loop.time()
    return WorkSlots(cast(asyncio.AbstractEventLoop, loop), requests)


@pytest.mark.parametrize("light", [True, False])
def test_work_gets_slots_in_order_and_pauses_only_beside_light_requests(loop: FakeLoop, light: bool) -> None:
    tested, done = slots_of(loop, light=light), list[str]()

    def work(name: str, seconds: float) -> Callable[[], bool]:
        def run() -> bool:
            done.append(name)
            loop.now += seconds
            if name == "a":
                tested.ask(work("again", 0.0))
            return False

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
    tested, done = slots_of(loop, light=True), list[int]()

    def fail() -> bool:
        raise ZeroDivisionError

    tested.ask(fail)
    tested.ask(lambda: bool(done.append(1)))  # type: ignore[func-returns-value]
    with pytest.raises(ZeroDivisionError):
        loop.run()
    loop.run()
    assert done == [1]


def test_next_slot_waits_for_the_answer_to_a_request_for_a_moment(loop: FakeLoop) -> None:
    tested, done = slots_of(loop, light=True), list[str]()

    def request() -> bool:
        done.append("request")
        return True

    def answer() -> None:
        done.append("answer")
        loop.now += 0.005
        tested.answered()

    tested.ask(request)
    tested.ask(request)
    tested.ask(request)
    loop.due.append(Timer(loop.now, answer))
    loop.run()
    assert done == ["request", "answer", "request", "request"]
    pauses = [0.0, MAX_ANSWER_SECONDS, PAUSE_FACTOR * 0.005]  # the first one was answered after 5 ms
    pauses += [MAX_ANSWER_SECONDS, PAUSE_FACTOR * MAX_ANSWER_SECONDS, MAX_ANSWER_SECONDS]  # the others never
    assert loop.pauses == pauses
