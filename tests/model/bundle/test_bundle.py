"""The bundle: what is written comes back, what is damaged is refused, and no reader ever sees half of one."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.bundle.bundle import ITEMS, MANIFEST, WEIGHTS, Bundle, BundleError, find_bundles, load_bundle, write_bundle
from model.config import ModelConfig
from tests.model.builders import CONFIGS, bundle_of

SMALL = ModelConfig(items=6, dim=4, expansion=1, conv_width=2, layers=1)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_what_is_written_comes_back(tmp_path: Path, config: ModelConfig) -> None:
    bundle = bundle_of(config)
    write_bundle(tmp_path / "models" / "v1", bundle)
    back = load_bundle(tmp_path / "models" / "v1")
    assert replace(back, weights={}) == replace(bundle, weights={})
    assert set(back.weights) == set(bundle.weights)
    assert all(np.array_equal(back.weights[name], bundle.weights[name]) for name in bundle.weights)


def test_a_folder_that_exists_is_not_overwritten(tmp_path: Path) -> None:
    write_bundle(tmp_path / "v1", bundle_of(SMALL))
    before = (tmp_path / "v1" / WEIGHTS).read_bytes()
    with pytest.raises(BundleError, match="exists already"):
        write_bundle(tmp_path / "v1", bundle_of(SMALL, seed=5))
    assert (tmp_path / "v1" / WEIGHTS).read_bytes() == before


@pytest.mark.parametrize("damage", ["nan", "items", "shape"])
def test_a_bundle_that_could_not_be_read_is_not_written(tmp_path: Path, damage: str) -> None:
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
    """While files are written nothing is to be found; the rename brings all of them at once."""
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


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_bundle(tmp_path / "v1", bundle_of(SMALL))
    assert not list(tmp_path.iterdir())


def versions(root: Path, *named: tuple[str, str]) -> list[Bundle]:
    bundles = [bundle_of(SMALL, version=version, created=created) for version, created in named]
    for bundle in bundles:
        write_bundle(root / f"folder-{bundle.version}", bundle)
    return bundles


def test_bundles_are_found_oldest_first(tmp_path: Path) -> None:
    versions(tmp_path, ("b", "2026-03-01"), ("c", "2026-01-01"), ("z", "2026-02-01"), ("a", "2026-02-01"))
    found = find_bundles(tmp_path)
    assert list(found) == ["c", "a", "z", "b"]
    assert found["c"] == tmp_path / "folder-c"


def test_a_bundle_itself_is_the_only_one_found(tmp_path: Path) -> None:
    versions(tmp_path, ("v1", "2026-03-01"))
    assert find_bundles(tmp_path / "folder-v1") == {"v1": tmp_path / "folder-v1"}


def test_half_written_folders_and_stray_files_are_no_bundles(tmp_path: Path) -> None:
    versions(tmp_path, ("v1", "2026-03-01"), ("v2", "2026-04-01"))
    (tmp_path / "folder-v2").rename(tmp_path / ".folder-v2-x1y2")
    (tmp_path / "no-manifest").mkdir()
    (tmp_path / "no-manifest" / WEIGHTS).write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("x")
    assert list(find_bundles(tmp_path)) == ["v1"]


@pytest.mark.parametrize("kind", ["absent", "empty", "file"])
def test_a_place_without_bundles_is_refused(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "models"
    if kind == "empty":
        root.mkdir()
    elif kind == "file":
        root.write_text("x")
    with pytest.raises(BundleError) as refused:
        find_bundles(root)
    assert "\n" not in str(refused.value)


def test_a_damaged_neighbour_does_not_hide_the_good_bundles(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_bundle(tmp_path / "good", bundle_of(ModelConfig(items=3, dim=4)))
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / MANIFEST).write_text("{")
    assert list(find_bundles(tmp_path)) == ["v1"]
    assert "bad" in caplog.text
    shutil.rmtree(tmp_path / "good")
    with pytest.raises(BundleError, match="bad"):
        find_bundles(tmp_path)
