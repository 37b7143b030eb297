"""WorkSlots of connections that ask for more than an ordinary request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import cast

import pytest

from service.api.connection import work_slots
from service.api.connection.work_slots import (
    MAX_ANSWER_SECONDS,
    MAX_SKIPPED,
    MAX_WAITING,
    MAX_WAITING_BYTES,
    MIN_PAUSE_SECONDS,
    PAUSE_FACTOR,
    WorkSlots,
)
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


def ask(
    slots: WorkSlots,
    work: Callable[[], bool | None],
    account: str = "",
    dropped: Callable[[], None] = lambda: None,
    size: int = 0,
) -> None:
    slots.ask(account, work, dropped, size)


@pytest.mark.parametrize("light", [True, False])
def test_work_gets_slots_in_order_and_pauses_only_beside_light_requests(loop: FakeLoop, light: bool) -> None:
    tested, done = slots_of(loop, light=light), list[str]()

    def work(name: str, seconds: float) -> Callable[[], bool]:
        def run() -> bool:
            done.append(name)
            loop.now += seconds
            if name == "a":
                ask(tested, work("again", 0.0))
            return False

        return run

    for name, seconds in (("a", 0.0), ("b", 0.01), ("c", 0.0)):
        ask(tested, work(name, seconds))
    loop.run()
    assert done == ["a", "b", "c", "again"]
    expected = [0.0, MIN_PAUSE_SECONDS, PAUSE_FACTOR * 0.01, MIN_PAUSE_SECONDS]
    assert loop.pauses == (expected if light else [0.0] * 4)
    ask(tested, work("later", 0.0))
    assert loop.pauses[-1] == (MIN_PAUSE_SECONDS if light else 0.0)


def test_work_that_fails_does_not_stop_the_others(loop: FakeLoop) -> None:
    tested, done = slots_of(loop, light=True), list[int]()

    def fail() -> bool:
        raise ZeroDivisionError

    ask(tested, fail)
    ask(tested, lambda: bool(done.append(1)))  # type: ignore[func-returns-value]
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

    for _ in range(3):
        ask(tested, partial(request))
    loop.due.append(Timer(loop.now, answer))
    loop.run()
    assert done == ["request", "answer", "request", "request"]
    pauses = [0.0, MAX_ANSWER_SECONDS, PAUSE_FACTOR * 0.005]  # the first one was answered after 5 ms
    pauses += [MAX_ANSWER_SECONDS, PAUSE_FACTOR * MAX_ANSWER_SECONDS, MAX_ANSWER_SECONDS]  # the others never
    assert loop.pauses == pauses


def record(done: list[str], name: str) -> Callable[[], bool]:
    return lambda: bool(done.append(name))  # type: ignore[func-returns-value]


def test_accounts_alternate_however_much_one_has_queued(loop: FakeLoop) -> None:
    tested, done = slots_of(loop, light=True), list[str]()
    for number in range(3):
        ask(tested, record(done, f"many {number}"), "many")
    ask(tested, record(done, "one"), "one")
    loop.run()
    assert done == ["many 0", "one", "many 1", "many 2"]


def test_work_without_anything_to_do_shares_a_slot(loop: FakeLoop) -> None:
    tested, done = slots_of(loop, light=True), list[str]()
    works = [lambda number=number: done.append(str(number)) for number in range(MAX_SKIPPED + 10)]
    for work in works:
        ask(tested, work)
    loop.run()
    assert len(done) == len(works)
    assert len(loop.pauses) == 2  # 64 of them, then the rest


@pytest.mark.parametrize(("size", "most"), [(0, MAX_WAITING), (MAX_WAITING_BYTES // 8, 8)])
def test_newest_work_of_the_longest_queue_is_dropped_beyond_the_bound(loop: FakeLoop, size: int, most: int) -> None:
    tested, done, dropped = slots_of(loop, light=True), list[str](), list[str]()
    ask(tested, record(done, "other"), "other", partial(dropped.append, "other"), size)
    for number in range(most + 4):
        name = f"{number}"
        ask(tested, record(done, name), "many", partial(dropped.append, name), size)
    loop.run()
    assert dropped == [str(number) for number in range(most - 1, most + 4)]
    assert len(done) == most
    assert "other" in done


def test_forgotten_work_makes_room(loop: FakeLoop) -> None:
    tested, done, dropped = slots_of(loop, light=True), list[str](), list[str]()
    for number in range(2 * MAX_WAITING):
        work = record(done, str(number))
        ask(tested, work, dropped=partial(dropped.append, str(number)), size=MAX_WAITING_BYTES)
        tested.forget("", work)
    loop.run()
    assert (done, dropped) == ([], [])
