"""Stateless recommender of the peers: one torch forward per batch.

It returns the top 10 without the items of the history.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from loadtests.peers.peer_settings import BUNDLE, HISTORY_LENGTH, THREADS
from model.bundle.bundle import load_bundle
from model.network import RecBLR

K = 10
MAX_BATCH = 16
MAX_BATCH_WAIT_SECONDS = 0.005

ScoredItems = list[dict[str, object]]


class Recompute:
    """Recommendations from whole histories, computed by torch."""

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

    def recommend(self, histories: Sequence[Sequence[str]]) -> list[ScoredItems]:
        """Return the top K for each history, from its last HISTORY_LENGTH items."""
        rows = [
            self._start + [self._row[item] for item in items[-HISTORY_LENGTH:] if item in self._row]
            for items in histories
        ]
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
