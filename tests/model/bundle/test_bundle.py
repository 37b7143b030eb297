"""Writing of bundles: complete, atomic, and readable afterwards."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.bundle.bundle import ITEMS, MANIFEST, WEIGHTS, BundleError, find_bundles, load_bundle, write_bundle
from model.config import ModelConfig
from tests.model.builders import CONFIGS, bundle_of

SMALL = ModelConfig(items=6, dim=4, expansion=1, conv_width=2, layers=1)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_written_bundle_is_read_back(tmp_path: Path, config: ModelConfig) -> None:
    bundle = bundle_of(config)
    write_bundle(tmp_path / "models" / "v1", bundle)
    back = load_bundle(tmp_path / "models" / "v1")
    assert replace(back, weights={}) == replace(bundle, weights={})
    assert set(back.weights) == set(bundle.weights)
    assert all(np.array_equal(back.weights[name], bundle.weights[name]) for name in bundle.weights)


def test_existing_folder_is_not_overwritten(tmp_path: Path) -> None:
    write_bundle(tmp_path / "v1", bundle_of(SMALL))
    before = (tmp_path / "v1" / WEIGHTS).read_bytes()
    with pytest.raises(BundleError, match="exists already"):
        write_bundle(tmp_path / "v1", bundle_of(SMALL, seed=5))
    assert (tmp_path / "v1" / WEIGHTS).read_bytes() == before


@pytest.mark.parametrize("damage", ["nan", "items", "shape"])
def test_invalid_bundle_is_not_written(tmp_path: Path, damage: str) -> None:
    bundle = bundle_of(SMALL)
    if damage == "nan":
        bundle.weights["layer_norm.weight"][0] = np.nan
    elif damage == "items":
        bundle = replace(bundle, items=bundle.items[:-1])
    else:
        bundle = replace(bundle, weights={**bundle.weights, "layer_norm.bias": np.zeros(5, np.float32)})
    with pytest.raises(BundleError):
        write_bundle(tmp_path / "v1", bundle)
    assert not list(tmp_path.iterdir())


def test_publishing_is_atomic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No bundle is found until the rename makes it complete."""
    seen: list[set[str]] = []
    sync = os.fsync

    def watching(descriptor: int) -> None:
        sync(descriptor)
        assert not (tmp_path / "v1").exists()
        with pytest.raises(BundleError, match="holds no bundle"):
            find_bundles(tmp_path)
        seen.append({path.name for path in tmp_path.iterdir()})

    monkeypatch.setattr(os, "fsync", watching)
    write_bundle(tmp_path / "v1", bundle_of(SMALL))
    assert len(seen) == 3
    assert all(name.startswith(".") for names in seen for name in names)
    assert {path.name for path in (tmp_path / "v1").iterdir()} == {MANIFEST, WEIGHTS, ITEMS}
    assert [path.name for path in tmp_path.iterdir()] == ["v1"]


def test_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_bundle(tmp_path / "v1", bundle_of(SMALL))
    assert not list(tmp_path.iterdir())
