"""Tests of the background task that repeats one step."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from service.core.errors import StoreUnavailable
from service.core.periodic_task import PeriodicTask

LOGGER = logging.getLogger("tests.periodic_task")


def periodic(step: Callable[[], Awaitable[float]], first_delay_seconds: float = 0.0) -> PeriodicTask:
    return PeriodicTask(
        step, LOGGER, "cannot run the step", retry_seconds=0.001, first_delay_seconds=first_delay_seconds
    )


def test_step_is_repeated_after_an_outage_and_after_an_exception(caplog: pytest.LogCaptureFixture) -> None:
    failures: list[Exception] = [StoreUnavailable("down"), ValueError("a fault"), StoreUnavailable("down")]
    succeeded = asyncio.Event()

    async def step() -> float:
        if failures:
            raise failures.pop(0)
        succeeded.set()
        return 60.0

    async def scenario() -> None:
        task = periodic(step)
        task.start()
        await asyncio.wait_for(succeeded.wait(), 10)
        await task.close()

    asyncio.run(scenario())
    levels = [(record.levelname, record.message) for record in caplog.records]
    assert levels == [("WARNING", "cannot run the step"), ("ERROR", "cannot run the step")]  # one outage is throttled


def test_close_cancels_the_running_step() -> None:
    began, cancelled = asyncio.Event(), asyncio.Event()

    async def step() -> float:
        began.set()
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()
        return 0.0

    async def scenario() -> None:
        task = periodic(step)
        task.start()
        await asyncio.wait_for(began.wait(), 10)
        await task.close()
        assert cancelled.is_set()

    asyncio.run(scenario())


def test_first_delay_precedes_the_first_step() -> None:
    calls: list[int] = []

    async def step() -> float:
        calls.append(1)
        return 60.0

    async def scenario() -> None:
        task = periodic(step, first_delay_seconds=60.0)
        task.start()
        await asyncio.sleep(0.02)
        await task.close()
        assert calls == []

    asyncio.run(scenario())


def test_close_before_start_does_nothing() -> None:
    async def step() -> float:
        raise AssertionError("the task was not started")

    asyncio.run(periodic(step).close())
