"""The usual design, shared by all peers: histories in, one padded torch forward, top 10 with seen items left out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from model.bundle.bundle import load_bundle
from model.network import RecBLR

LENGTH = 200
K = 10

# The peers' servers start worker processes of their own; the environment reaches all of them.
BUNDLE, PORT, THREADS = "LOADTEST_BUNDLE", "LOADTEST_PORT", "LOADTEST_TORCH_THREADS"
MAX_BATCH = 16
BATCH_WAIT = 0.005  # seconds that a request may wait for others

Scored = list[dict[str, object]]


class Recompute:
    """The network of a bundle on the CPU, as a function of whole histories."""

    def __init__(self) -> None:
        torch.set_num_threads(int(os.environ.get(THREADS, "1")))
        bundle = load_bundle(Path(os.environ[BUNDLE]))
        self._network = RecBLR(bundle.config)
        self._network.load_state_dict(
            {name: torch.from_numpy(array.copy()) for name, array in bundle.weights.items()}
        )
        self._network.eval()
        self._ids = [item.item_id for item in bundle.items]
        self._row = {item_id: row for row, item_id in enumerate(self._ids, start=1)}
        self._start = [0] if bundle.config.start_token else []

    def answer(self, histories: Sequence[Sequence[str]]) -> list[Scored]:
        """Top K for each history, of which the last LENGTH items count."""
        rows = [self._start + [self._row[i] for i in items[-LENGTH:] if i in self._row] for items in histories]
        lengths = torch.tensor([len(row) for row in rows])
        padded = torch.zeros(len(rows), int(lengths.max()), dtype=torch.long)
        for number, row in enumerate(rows):
            padded[number, : len(row)] = torch.tensor(row)
        equal = bool((lengths == padded.shape[1]).all())
        with torch.inference_mode():
            outputs, _ = self._network(padded, lengths=None if equal else lengths)
            last = outputs[torch.arange(len(rows)), lengths - 1]
            scores = last @ self._network.item_embedding.weight.T
            scores[:, 0] = -torch.inf
            scores.scatter_(1, padded, -torch.inf)
            best = scores.topk(min(K, len(self._ids)), dim=1)
        return [
            [{"item_id": self._ids[row - 1], "score": score} for row, score in zip(top, values, strict=True)]
            for top, values in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]
