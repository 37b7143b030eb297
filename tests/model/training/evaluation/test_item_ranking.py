"""The order of items: by score, ties by row."""

from __future__ import annotations

import torch

from model.training.evaluation.item_ranking import item_scores, items_ranked_before
from tests.model.training.evaluation.random_histories import small_network


def test_items_with_higher_scores_and_ties_of_lower_rows_rank_before() -> None:
    network = small_network(items=4)
    # The output picks the first column of the table, so these are the scores of rows 0 to 4.
    network.item_embedding.weight.data[:, 0] = torch.tensor([9.0, 2.0, 3.0, 2.0, 2.0])
    output = torch.zeros(1, network.config.dim)
    output[0, 0] = 1.0
    ranked_before = items_ranked_before(item_scores(network, output), torch.tensor([3]))
    assert ranked_before.tolist() == [[False, True, True, False, False]]


def test_nan_scores_rank_every_item_before_the_target() -> None:
    network = small_network(items=4)
    output = torch.full((1, network.config.dim), float("nan"))
    assert items_ranked_before(item_scores(network, output), torch.tensor([2])).sum() >= 4
