"""Random histories for the engine's benchmarks."""

from __future__ import annotations

from loadtests.micro.random_histories import RandomHistories
from model.config import ModelConfig
from service.core.engine_requests import EngineRequest, EngineResult
from service.engine.cpu.cpu_engine import CpuEngine
from tests.model.builders import bundle_of

BUNDLE = bundle_of(ModelConfig(items=9, dim=8, layers=1))


def test_one_seed_gives_the_same_known_items() -> None:
    first, second = RandomHistories(BUNDLE, 3), RandomHistories(BUNDLE, 3)
    history = first.history(20)
    assert history == second.history(20)
    assert len(history) == 20
    assert set(history) <= {item.item_id for item in BUNDLE.items}
    assert first.history(20) != history


def test_states_are_copies_of_one_state_with_all_its_rows() -> None:
    engine = CpuEngine(BUNDLE, 100)
    states = RandomHistories(BUNDLE).states(engine, 3, 5)
    [result] = engine.run([EngineRequest(None, RandomHistories(BUNDLE).history(5), None)])
    assert isinstance(result, EngineResult)
    assert len(states) == 3
    assert all(engine.difference(state, result.state) < 1e-6 for state in states)
