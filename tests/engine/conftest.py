"""Engines over small random models, and the plain float64 network beside them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model.artifact import Bundle, load_bundle
from model.config import ModelConfig
from model.network import RecBLR
from service.core.ports import Folded, Rank, ScoredItem, TopK, Turn
from service.engine.cpu import CpuEngine
from tests.model.builders import CONFIGS, bundle_of

DEMO = Path(__file__).parents[2] / "bundles" / "ml-1m-demo"


@dataclass(frozen=True)
class House:
    """An engine and the torch network in float64 that it must agree with."""

    bundle: Bundle
    engine: CpuEngine
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
        drawn = np.random.default_rng(seed).integers(0, len(self.bundle.items), length)
        return tuple(self.bundle.items[n].item_id for n in drawn)


def build(bundle: Bundle, seen_limit: int = 1000) -> House:
    network = RecBLR(bundle.config).double()
    network.load_state_dict({name: torch.from_numpy(a.astype(np.float64)) for name, a in bundle.weights.items()})
    return House(bundle, CpuEngine(bundle, seen_limit), network.eval())


def run(
    engine: CpuEngine, items: tuple[str, ...], ask: TopK | Rank | None = None, state: bytes | None = None
) -> Folded:
    """One turn, which must not be refused."""
    (folded,) = engine.run([Turn(state, items, ask)])
    assert isinstance(folded, Folded), folded
    return folded


def ids(items: tuple[ScoredItem, ...]) -> list[str]:
    return [item.item_id for item in items]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session", params=[*CONFIGS, "demo"])
def house(request: pytest.FixtureRequest) -> House:
    """Each configuration in turn, and the demo bundle."""
    name: str = request.param
    return build(load_bundle(DEMO) if name == "demo" else bundle_of(CONFIGS[name], seed=4))


@pytest.fixture(scope="session")
def small() -> House:
    """The default configuration with 50 items and a start token."""
    return build(bundle_of(CONFIGS["default"], seed=4))


@pytest.fixture(scope="session")
def without_token() -> House:
    """A model that says nothing before the first item."""
    return build(bundle_of(ModelConfig(items=40, dim=12, start_token=False), seed=4))
