"""Networks loaded from bundles."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from model.bundle.bundle import BundleError
from model.training.evaluation.bundle_loader import load_network

DEMO = Path(__file__).parents[4] / "bundles" / "ml-1m-demo"


def test_demo_bundle_loads_in_evaluation_mode_and_is_small() -> None:
    network, bundle = load_network(DEMO, torch.device("cpu"))
    assert not network.training
    assert sum(path.stat().st_size for path in DEMO.iterdir()) < 3_000_000
    assert len(bundle.items) == bundle.config.items == 3416
    assert "users" in bundle.training_data


def test_folder_without_a_bundle_raises(tmp_path: Path) -> None:
    with pytest.raises(BundleError):
        load_network(tmp_path, torch.device("cpu"))
