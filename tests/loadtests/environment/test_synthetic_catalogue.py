"""Synthetic catalogues."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from loadtests.environment.servers import DEMO_BUNDLE
from loadtests.environment.synthetic_catalogue import write_catalogue
from model.bundle.bundle import load_bundle


def test_catalogue_is_a_bundle_with_the_norms_of_the_trained_one(tmp_path: Path) -> None:
    ids = write_catalogue(tmp_path / "bundle", DEMO_BUNDLE, 5000, 1)
    bundle, trained = load_bundle(tmp_path / "bundle"), load_bundle(DEMO_BUNDLE)
    assert [item.item_id for item in bundle.items] == ids
    name = "item_embedding.weight"
    assert (bundle.weights[name][0] == trained.weights[name][0]).all()
    norms = [np.linalg.norm(weights[name][1:], axis=1) for weights in (bundle.weights, trained.weights)]
    assert abs(np.median(norms[0]) / np.median(norms[1]) - 1) < 0.15
