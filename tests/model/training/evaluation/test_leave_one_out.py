"""Leave-one-out ranks on a network with a hand-written score table."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch

import model.training.evaluation.leave_one_out as leave_one_out_module
from ingest.errors import DataError
from model.config import ModelConfig
from model.network import RecBLR
from model.training.data.interactions import Interactions, read_interactions
from model.training.evaluation.bundle_loader import load_network
from model.training.evaluation.leave_one_out import LeaveOneOutRanks, last_outputs, leave_one_out
from tests.model.builders import CONFIGS, network_of, random_weights

ROOT = Path(__file__).parents[4]
DEMO = ROOT / "bundles" / "ml-1m-demo"
MOVIELENS = Path(os.environ.get("MOVIELENS_1M", "nowhere"))


class TableNetwork(RecBLR):
    """Network whose scores of all items after row r are table[r]."""

    def __init__(self, table: list[list[float]]) -> None:
        super().__init__(ModelConfig(items=len(table) - 1, dim=len(table), expansion=1, layers=1, start_token=False))
        self._table = torch.tensor(table)
        self.item_embedding.weight.data = torch.eye(len(table))

    def forward(
        self, items: torch.Tensor, state: torch.Tensor | None = None, lengths: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return self._table[items], self.begin(len(items))


def histories(*each: list[int], items: int) -> Interactions:
    rows = np.array([row for history in each for row in history], np.int32)
    offsets = np.concatenate([[0], np.cumsum([len(history) for history in each])])
    return Interactions(rows, offsets, [f"i{n + 1}" for n in range(items)], [str(n) for n in range(len(each))])


# Scores of rows 0 to 5 after each row. Row 0 is no item, although it scores highest.
TABLE = [
    [9.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    [9.0, 5.0, 4.0, 3.0, 2.0, 1.0],
    [9.0, 1.0, 2.0, 3.0, 4.0, 5.0],
    [9.0, 7.0, 7.0, 7.0, 7.0, 7.0],
    [9.0, 1.0, 8.0, 8.0, 1.0, 2.0],
    [9.0, 0.0, 0.0, 0.0, 0.0, -1.0],
]


@pytest.mark.parametrize(
    ("history", "kept", "masked"),
    [
        ([1, 2], 2, 1),  # row 1 scores best, and was seen
        ([1, 5], 5, 4),
        ([2, 1, 3], 3, 1),  # rows 1 and 2 rank before 3, both were seen
        ([2, 1], 5, 4),
        ([3, 4], 4, 3),  # all tie: the lower rows 1, 2 and 3 rank first, of which 3 was seen
        ([3, 1], 1, 1),
        ([4, 3], 2, 2),  # ties with row 2
        ([4, 5, 4, 1], 4, 3),  # rows 2, 3 and 5 rank before 1, of which 5 was seen; row 4 ties and ranks after
        ([1, 2, 1, 1], 1, 6),  # the target itself was seen: masked, it ranks last
        ([4, 5, 5], 5, 6),
    ],
)
def test_ranks_equal_those_counted_by_hand(history: list[int], kept: int, masked: int) -> None:
    ranks = leave_one_out(TableNetwork(TABLE), histories(history, items=5))
    assert (ranks.kept.tolist(), ranks.masked.tolist()) == ([kept], [masked])


def test_short_histories_are_skipped_and_batches_do_not_matter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = histories([1], [1, 2], [], [2, 1, 3], [4, 5, 5], [3, 4], items=5)
    whole = leave_one_out(TableNetwork(TABLE), data)
    assert sorted(whole.kept.tolist()) == [2, 3, 4, 5]
    monkeypatch.setattr(leave_one_out_module, "_MAX_TOKENS", 1)
    small = leave_one_out(TableNetwork(TABLE), data)
    assert (small.kept.tolist(), small.masked.tolist()) == (whole.kept.tolist(), whole.masked.tolist())


def test_diverged_network_ranks_every_target_last() -> None:
    ranks = leave_one_out(TableNetwork([[math.nan] * 6] * 6), histories([1, 2], [3, 1], items=5))
    assert ranks.kept.min() > 5


def test_no_history_of_two_events_raises() -> None:
    with pytest.raises(DataError, match="2 events"):
        leave_one_out(TableNetwork(TABLE), histories([1], [], items=5))


def test_metrics_equal_their_formulas() -> None:
    found = LeaveOneOutRanks(np.array([1, 3, 10, 11, 20, 21]), np.array([2, 2, 2, 2, 2, 99])).metrics()
    ndcg10 = (1 + 1 / np.log2(4) + 1 / np.log2(11)) / 6
    ndcg20 = ndcg10 + (1 / np.log2(12) + 1 / np.log2(21)) / 6
    assert found == pytest.approx(
        {
            "hr@10": 3 / 6,
            "ndcg@10": ndcg10,
            "mrr@10": (1 + 1 / 3 + 1 / 10) / 6,
            "hr@20": 5 / 6,
            "ndcg@20": ndcg20,
            "mrr@20": (1 + 1 / 3 + 1 / 10 + 1 / 11 + 1 / 20) / 6,
            "masked_hr@10": 5 / 6,
            "masked_ndcg@10": 5 / 6 / np.log2(3),
            "masked_mrr@10": 5 / 12,
            "masked_hr@20": 5 / 6,
            "masked_ndcg@20": 5 / 6 / np.log2(3),
            "masked_mrr@20": 5 / 12,
        }
    )


@torch.no_grad()
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_last_output_equals_the_one_of_single_steps(config: ModelConfig) -> None:
    network = network_of(config, random_weights(config))
    padded, lengths = torch.tensor([[3, 5, 1, 4], [2, 7, 0, 0]]), torch.tensor([4, 2])
    found = last_outputs(network, padded, lengths)
    for n, length in enumerate(lengths.tolist()):
        state = network.begin(1)
        for item in [0] * config.start_token + padded[n, :length].tolist():
            output, state = network.step(torch.tensor([item]), state)
        assert torch.allclose(found[n], output[0], rtol=1e-4, atol=1e-5)


def test_evaluation_restores_the_mode_of_the_network() -> None:
    network = TableNetwork(TABLE)
    for training in (True, False):
        network.train(training)
        leave_one_out(network, histories([1, 2], items=5))
        assert network.training is training


@pytest.mark.skipif(not MOVIELENS.exists(), reason="MOVIELENS_1M does not name a file of `user item item …` lines")
def test_demo_bundle_has_the_metrics_of_its_manifest() -> None:
    network, bundle = load_network(DEMO, torch.device("cpu"))
    data = read_interactions([MOVIELENS], item_ids=[item.item_id for item in bundle.items])
    found = leave_one_out(network, data)
    assert len(found.kept) == 6040
    metrics = found.metrics()
    assert metrics["ndcg@10"] >= 0.165
    published = json.loads((DEMO / "manifest.json").read_bytes())["metrics"]
    for name, value in metrics.items():
        assert value == pytest.approx(published[name], abs=2e-3), name
