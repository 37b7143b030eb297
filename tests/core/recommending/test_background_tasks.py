from __future__ import annotations

import asyncio
import logging

import pytest

from service.core.errors import Overloaded
from service.core.recommending.background_tasks import BackgroundTasks


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
