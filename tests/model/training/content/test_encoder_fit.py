"""Fitting encoders to networks whose table follows from content."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ingest.errors import DataError
from model.config import ModelConfig
from model.content.item_content import ItemContent
from model.network import RecBLR
from model.training.content.encoder_fit import fit_encoder, with_new_items
from model.training.data.interactions import Interactions
from tests.model.builders import network_of, random_weights
from tests.model.training.histories import histories_of_lengths

ITEMS, KINDS = 60, 5


def contents() -> dict[str, ItemContent]:
    return {
        str(row): ItemContent(f"thing {row % KINDS}", (f"kind {row % KINDS}",), {"price": float(row % KINDS)})
        for row in range(1, ITEMS + 21)
    }


def network_by_kind() -> RecBLR:
    """Network in which items of one kind have similar embeddings."""
    config = ModelConfig(items=ITEMS, dim=8, layers=1)
    weights = random_weights(config)
    rng = np.random.default_rng(1)
    kinds = 2.0 * rng.standard_normal((KINDS, 8))
    table = kinds[np.arange(ITEMS + 1) % KINDS] + 0.05 * rng.standard_normal((ITEMS + 1, 8))
    weights["item_embedding.weight"] = table.astype(np.float32)
    return network_of(config, weights)


def data() -> Interactions:
    return histories_of_lengths([8] * 60, ITEMS)


def test_new_item_gets_a_vector_like_those_of_its_kind() -> None:
    network = network_by_kind()
    fitted = fit_encoder(network, data(), contents())
    table = network.item_embedding.weight.detach().numpy()
    for kind in range(KINDS):
        own = table[1:][np.arange(1, ITEMS + 1) % KINDS == kind].mean(0)
        vector = fitted.encoder.encode(contents()[str(ITEMS + KINDS + kind)])
        assert vector is not None
        cosine = vector @ own / np.linalg.norm(vector) / np.linalg.norm(own)
        assert cosine > 0.8


def test_settings_of_the_candidate_are_kept_by_the_refit() -> None:
    network = network_by_kind()
    fitted = fit_encoder(network, data(), contents())
    again = fit_encoder(network, data(), contents(), fitted.settings)
    assert again.settings == fitted.settings
    # Two more events of each user are known, so items count differently.
    assert np.abs(again.encoder.weights - fitted.encoder.weights).max() < 0.2 * np.abs(fitted.encoder.weights).max()


def test_fit_is_the_same_twice() -> None:
    first, second = (fit_encoder(network_by_kind(), data(), contents()) for _ in range(2))
    np.testing.assert_array_equal(first.encoder.weights, second.encoder.weights)
    assert first.facts == second.facts


def test_too_few_items_with_content_are_refused() -> None:
    few = {item_id: content for item_id, content in contents().items() if int(item_id) <= 10}
    with pytest.raises(DataError, match="only 10 trained items have content"):
        fit_encoder(network_by_kind(), data(), few)


def test_items_without_content_are_left_out_and_keep_their_rows() -> None:
    network = network_by_kind()
    own = {item_id: content for item_id, content in contents().items() if int(item_id) % 7}
    fitted = fit_encoder(network, data(), own)
    assert fitted.facts["items"] == sum(int(item_id) <= ITEMS for item_id in own)
    everything = [own.get(str(row), ItemContent()) for row in range(1, ITEMS + 21)]
    extended, known = with_new_items(network, fitted, everything)
    torch.testing.assert_close(extended.item_embedding.weight[: ITEMS + 1], network.item_embedding.weight)
    assert known.tolist() == [True] * (ITEMS + 1) + [str(row) in own for row in range(ITEMS + 1, ITEMS + 21)]
    vector = fitted.encoder.encode(own[str(ITEMS + 1)])
    np.testing.assert_array_equal(extended.item_embedding.weight[ITEMS + 1].detach().numpy(), vector)


def test_vectors_of_one_value_everywhere_are_no_error() -> None:
    same = {str(row): ItemContent("same") for row in range(1, ITEMS + 1)}
    fitted = fit_encoder(network_by_kind(), data(), same)
    vector = fitted.encoder.encode(ItemContent("same"))
    assert vector is not None
    assert np.isfinite(vector).all()
