from __future__ import annotations

import asyncio
import logging

import pytest

from service.core.errors import Overloaded
from service.core.recommending.background_tasks import Background


def test_each_runs_to_its_end_and_only_a_fault_is_worth_a_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    through: list[str] = []

    async def work(name: str, error: Exception | None = None) -> None:
        await asyncio.sleep(0)
        through.append(name)
        if error is not None:
            raise error

    async def scenario() -> None:
        background = Background()
        background.start(work("refused", Overloaded("full")))
        background.start(work("broken", RuntimeError("a fault of ours")))
        background.start(work("good"))
        await background.close()
        assert through == ["refused", "broken", "good"]

    asyncio.run(scenario())
    assert [record.message for record in caplog.records] == ["background fold failed"]
    assert "a fault of ours" in caplog.text
