"""The measured call evaluates as many events as its sampling rate says."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from loadtests.micro.live_accuracy_cost import record_call
from model.config import ModelConfig
from service.core.engine_requests import EngineRequest, EngineResult
from service.core.errors import StateDamagedError
from service.engine.cpu.cpu_engine import CpuEngine
from tests.model.builders import bundle_of


class CountingEngine(CpuEngine):
    """Counts the evaluated events."""

    evaluated = 0

    def run(self, requests: Sequence[EngineRequest]) -> list[EngineResult | StateDamagedError]:
        results = super().run(requests)
        self.evaluated += sum(len(result.ranks) for result in results if isinstance(result, EngineResult))
        return results


@pytest.mark.parametrize(("sampling_rate", "evaluated"), [(0.0, 0), (1.0, 12)])
def test_sampling_rate_decides_how_many_events_are_evaluated(sampling_rate: float, evaluated: int) -> None:
    bundle = bundle_of(ModelConfig(items=40, dim=8), seed=3)
    engine, items = CountingEngine(bundle, 1000), [item.item_id for item in bundle.items]
    results = engine.run([EngineRequest(None, tuple(items[:3]), None)] * 4)
    states = [result.state for result in results if isinstance(result, EngineResult)]
    call = record_call(engine, items, states, sampling_rate, 4)

    async def call_three_times() -> None:  # the metrics need an event loop
        for _ in range(3):
            call()

    asyncio.run(call_three_times())
    assert engine.evaluated == evaluated
