"""Engines of every kind over small random models.

Each comes with the float64 network that it must agree with.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model.bundle.bundle import Bundle, load_bundle
from model.config import ModelConfig
from model.network import RecBLR
from service.core.engine_requests import EngineRequest, EngineResult, RankCandidates, ScoredItem, TopK
from service.core.ports import Engine
from service.engine.cpu.cpu_engine import CpuEngine
from service.engine.cuda.cuda_engine import CudaEngine
from tests.engine.extended import AllAllowed, append, split
from tests.model.builders import CONFIGS, bundle_of

DEMO = Path(__file__).parents[2] / "bundles" / "ml-1m-demo"


@dataclass(frozen=True)
class EngineHarness:
    """An engine, and the float64 network that it must agree with."""

    bundle: Bundle
    engine: Engine
    network: RecBLR

    def scores(self, items: tuple[str, ...]) -> NDArray[np.float64]:
        """(V + 1,) of the network; -inf at row 0."""
        rows = {item.item_id: row for row, item in enumerate(self.bundle.items, start=1)}
        history = [0] * self.bundle.config.start_token + [rows[item] for item in items]
        with torch.no_grad():
            outputs, _ = self.network(torch.tensor([history]))
            scores: NDArray[np.float64] = (outputs[0, -1] @ self.network.item_embedding.weight.T).numpy()
        scores[0] = -np.inf
        return scores

    def history(self, length: int, seed: int = 0) -> tuple[str, ...]:
        sampled = np.random.default_rng(seed).integers(0, len(self.bundle.items), length)
        return tuple(self.bundle.items[n].item_id for n in sampled)


Kind = Literal["cpu", "cpu extended", "torch", "torch extended", "cuda", "cuda extended"]


_WITHOUT: dict[Kind, Kind] = {"cpu extended": "cpu", "torch extended": "torch", "cuda extended": "cuda"}


def engine_of(kind: Kind, bundle: Bundle, seen_limit: int = 1000) -> Engine:
    """The CPU engine, or the CUDA engine on a CPU or GPU.

    To an extended one a part of the items was appended.
    """
    if kind.endswith("extended"):
        part, vectors = split(bundle, max(1, 2 * len(bundle.items) // 3))
        engine = engine_of(_WITHOUT[kind], part, seen_limit)
        append(engine, vectors, [len(vectors) // 4], [item.item_id for item in bundle.items[-len(vectors) :]])
        return AllAllowed(engine)
    if kind == "cpu":
        return CpuEngine(bundle, seen_limit)
    return CudaEngine(bundle, seen_limit, "cuda" if kind == "cuda" else "cpu")


def build(kind: Kind, bundle: Bundle, seen_limit: int = 1000) -> EngineHarness:
    network = RecBLR(bundle.config).double()
    network.load_state_dict({name: torch.from_numpy(a.astype(np.float64)) for name, a in bundle.weights.items()})
    return EngineHarness(bundle, engine_of(kind, bundle, seen_limit), network.eval())


def run(
    engine: Engine, items: tuple[str, ...], ask: TopK | RankCandidates | None = None, state: bytes | None = None
) -> EngineResult:
    """Run one request, which must succeed."""
    (result,) = engine.run([EngineRequest(state, items, ask)])
    assert isinstance(result, EngineResult), result
    return result


def ids(items: tuple[ScoredItem, ...]) -> list[str]:
    return [item.item_id for item in items]


_no_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


_on_gpu = [pytest.param(kind, marks=[pytest.mark.gpu, _no_gpu]) for kind in ("cuda", "cuda extended")]


@pytest.fixture(scope="session", params=["cpu", "cpu extended", "torch", "torch extended", *_on_gpu])
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each kind of engine in turn: all of them keep one contract."""
    found: Kind = request.param
    return found


@pytest.fixture(scope="session", params=[*CONFIGS, "demo"])
def harness(kind: Kind, request: pytest.FixtureRequest) -> EngineHarness:
    """Each configuration in turn, and the demo bundle."""
    name: str = request.param
    return build(kind, load_bundle(DEMO) if name == "demo" else bundle_of(CONFIGS[name], seed=4))


@pytest.fixture(scope="session")
def small(kind: Kind) -> EngineHarness:
    """The default configuration with 50 items and a start token."""
    return build(kind, bundle_of(CONFIGS["default"], seed=4))


@pytest.fixture(scope="session")
def without_token(kind: Kind) -> EngineHarness:
    """A model that says nothing before the first item."""
    return build(kind, bundle_of(ModelConfig(items=40, dim=12, start_token=False), seed=4))
