"""Small models with random weights, as arrays, networks and bundles."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from model.bundle.bundle import Bundle, Item, parameter_shapes
from model.bundle.event_types import EventType, EventTypes
from model.config import ModelConfig
from model.network import RecBLR

Arrays = dict[str, NDArray[np.float32]]

CONFIGS = {
    "default": ModelConfig(items=50),
    "narrow": ModelConfig(items=30, dim=8, expansion=1, conv_width=2, layers=1),
    "deep": ModelConfig(items=40, dim=12, expansion=3, conv_width=5, layers=3, start_token=False),
    "odd": ModelConfig(items=7, dim=33, expansion=1, conv_width=3, layers=2),
    "two taps": ModelConfig(items=25, dim=16, expansion=2, conv_width=2, layers=3, start_token=False),
    "typed": ModelConfig(items=35, dim=12, expansion=2, conv_width=4, layers=2, event_types=5),
}
# More shapes of models with event types.
TYPED = {
    "typed": CONFIGS["typed"],
    "typed, one layer": ModelConfig(items=9, dim=8, expansion=1, conv_width=2, layers=1, event_types=2),
    "typed, odd": ModelConfig(
        items=30, dim=33, expansion=1, conv_width=5, layers=3, start_token=False, event_types=7
    ),
}


def random_weights(config: ModelConfig, seed: int = 0) -> Arrays:
    """Random weights in which no part is trivial.

    Norms are not one, biases and initial state not zero, and a is between 0.3 and 0.9997.
    """
    rng = np.random.default_rng(seed)
    weights = {}
    for name, shape in parameter_shapes(config).items():
        values = rng.standard_normal(shape)
        if name.endswith("Lambda"):
            values = rng.uniform(-8.0, 1.0, shape)
        elif "norm.weight" in name:
            values = 1.0 + 0.2 * values
        elif name.endswith("bias") or name == "initial_state":
            values = 0.3 * values
        elif "weight" in name:
            values /= np.sqrt(np.prod(shape[1:]))
        weights[name] = values.astype(np.float32)
    return weights


def network_of(config: ModelConfig, weights: Arrays) -> RecBLR:
    """The network with these weights, in evaluation mode."""
    network = RecBLR(config)
    network.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in weights.items()})
    return network.eval()


def bundle_of(config: ModelConfig, seed: int = 0, version: str = "v1", created: str = "2026-01-01") -> Bundle:
    """Bundle of random weights; the item of row r is `i{r}`.

    Popularity falls and rises over the rows.
    """
    items = [Item(f"i{row}", 7 * row % 11) for row in range(1, config.items + 1)]
    weights, metrics, facts = random_weights(config, seed), {"ndcg@10": 0.5}, {"users": 3}
    return Bundle(version, created, config, weights, items, metrics, facts, event_types=types_of(config))


def types_of(config: ModelConfig) -> EventTypes | None:
    """Event types "view", "t1", "t2" and so on, all replayed."""
    names = ["view", *(f"t{n}" for n in range(1, config.event_types))]
    return {name: EventType("replayed", 1.0, True) for name in names} if config.event_types else None
