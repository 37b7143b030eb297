"""Random histories of given lengths."""

from __future__ import annotations

import numpy as np

from model.training.data.interactions import Interactions

# Options of `recblr-train train` for a run of a second.
SHORT_TRAINING = (
    *("--dim", "8", "--layers", "1", "--epochs", "4", "--evaluate-every", "2"),
    *("--window", "8", "--batch", "16", "--device", "cpu"),
)


def histories_of_lengths(lengths: list[int], items: int, seed: int = 1) -> Interactions:
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    rows = rng.integers(1, items + 1, int(offsets[-1])).astype(np.int32)
    names = [str(item) for item in range(1, items + 1)]
    return Interactions(rows, offsets, names, [str(user) for user in range(len(lengths))])
