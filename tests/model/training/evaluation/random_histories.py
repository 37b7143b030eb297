"""Random histories and a small random network."""

from __future__ import annotations

import numpy as np

from model.config import ModelConfig
from model.network import RecBLR
from model.training.data.interactions import Interactions
from tests.model.builders import network_of, random_weights

ITEMS = 30


def random_histories(seed: int = 5) -> Interactions:
    """Return 202 histories of 0 to 39 events."""
    rng = np.random.default_rng(seed)
    lengths = np.concatenate([[0, 1], rng.integers(2, 40, 200)])
    rows = np.minimum(rng.geometric(0.1, lengths.sum()), ITEMS).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return Interactions(rows, offsets, [str(n) for n in range(ITEMS)], [str(n) for n in range(len(lengths))])


def small_network(items: int = ITEMS) -> RecBLR:
    config = ModelConfig(items=items, dim=8)
    return network_of(config, random_weights(config))
