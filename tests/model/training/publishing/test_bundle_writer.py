"""Bundles of trained networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from model.bundle.bundle import BundleError
from model.config import ModelConfig
from model.network import RecBLR
from model.training.evaluation.bundle_loader import load_network
from model.training.publishing.bundle_writer import write_network_bundle
from tests.model.training.evaluation.random_histories import ITEMS, random_histories


@torch.no_grad()
def test_written_network_loads_as_the_same_network(tmp_path: Path) -> None:
    data = random_histories()
    torch.manual_seed(1)
    network = RecBLR(ModelConfig(items=ITEMS, dim=16, layers=1)).eval()
    network.initial_state.normal_()
    bundle = write_network_bundle(tmp_path / "v1", network, data, {"ndcg@10": 0.25}, {"source": "test"})
    loaded, read = load_network(tmp_path / "v1", torch.device("cpu"))
    items = torch.from_numpy(data.rows[:8].astype(np.int64))[None]
    for a, b in zip(network(items), loaded(items), strict=True):
        assert torch.equal(a, b)
    assert not loaded.training
    assert read.version == bundle.version
    assert read.metrics == {"ndcg@10": 0.25}
    assert read.training_data == data.summary() | {"source": "test"}
    assert [item.item_id for item in read.items] == list(data.item_ids)
    assert [item.popularity for item in read.items] == data.popularity()[1:].tolist()
    with pytest.raises(BundleError, match="exists already"):
        write_network_bundle(tmp_path / "v1", network, data, {}, {})
