"""Background replays: errors, number, contexts."""

from __future__ import annotations

import asyncio
import logging
from contextvars import ContextVar

import pytest

from service.core.errors import Overloaded
from service.core.recommending.background_tasks import MAX_RUNNING, MAX_WAITING, BackgroundTasks


def test_every_task_finishes_and_only_a_fault_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    finished: list[str] = []

    async def replay(name: str, error: Exception | None = None) -> None:
        await asyncio.sleep(0)
        finished.append(name)
        if error is not None:
            raise error

    async def scenario() -> None:
        background = BackgroundTasks()
        background.start(replay("rejected", Overloaded("full")))
        background.start(replay("broken", RuntimeError("a fault")))
        background.start(replay("good"))
        await background.close()
        assert finished == ["rejected", "broken", "good"]

    asyncio.run(scenario())
    assert [record.message for record in caplog.records] == ["background replay failed"]
    assert "a fault" in caplog.text


def test_few_replays_run_at_once_and_each_keeps_its_context() -> None:
    running = most = 0
    name: ContextVar[int] = ContextVar("name")
    seen: list[int] = []

    async def replay() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        seen.append(name.get())

    async def scenario() -> None:
        background = BackgroundTasks()
        for number in range(3 * MAX_RUNNING):
            name.set(number)
            background.start(replay())
        await background.close()
        background.start(replay())
        await background.close()

    asyncio.run(scenario())
    assert most == MAX_RUNNING
    assert seen == [*range(3 * MAX_RUNNING), 3 * MAX_RUNNING - 1]


def test_replays_beyond_the_queue_are_dropped() -> None:
    finished: list[int] = []

    async def replay(number: int) -> None:
        finished.append(number)

    async def scenario() -> None:
        background = BackgroundTasks()
        for number in range(MAX_WAITING + 50):
            background.start(replay(number))
        await background.close()

    asyncio.run(scenario())
    assert finished == list(range(MAX_WAITING))
