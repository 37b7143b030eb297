"""The model registry: newest bundle, publishing and pruning."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path

import pytest

from ingest.errors import DataError
from model.bundle.bundle import BundleError, find_bundles, load_bundle, write_bundle
from model.config import ModelConfig
from model.training.publishing.registry import newest_bundle, prune, publish, trained_until
from tests.model.builders import bundle_of

CONFIG = ModelConfig(items=5, dim=8)
CREATED = 1_767_225_600.0  # of `bundle_of`: 2026-01-01 in UTC


def write_version(folder: Path, version: str, created: str) -> Path:
    write_bundle(folder, bundle_of(CONFIG, version=version, created=created))
    return folder


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """Provide a registry of three versions, of which v3 is the newest."""
    for day in (2, 3, 1):
        write_version(tmp_path / "registry" / f"v{day}", f"v{day}", f"2026-01-0{day}T00:00:00+00:00")
    return tmp_path / "registry"


def test_newest_bundle_is_the_one_created_last(registry: Path) -> None:
    assert newest_bundle(registry) == registry / "v3"


def test_empty_or_missing_registry_has_no_newest_bundle(tmp_path: Path) -> None:
    assert newest_bundle(tmp_path) is None
    assert newest_bundle(tmp_path / "missing") is None


def test_bundle_instead_of_a_registry_raises(registry: Path) -> None:
    with pytest.raises(DataError, match="not one bundle"):
        newest_bundle(registry / "v1")


def test_published_bundle_is_the_newest_although_it_was_created_earlier(registry: Path, tmp_path: Path) -> None:
    candidate = write_version(tmp_path / "candidate", "v0", "2025-01-01T00:00:00+00:00")
    bundle = publish(registry, candidate)
    assert newest_bundle(registry) == registry / "v0"
    assert bundle.created == "2026-01-03T00:00:01+00:00"


def test_version_that_was_published_before_is_unchanged(registry: Path, tmp_path: Path) -> None:
    candidate = write_version(tmp_path / "candidate", "v2", "2030-01-01T00:00:00+00:00")
    before = {path: path.read_bytes() for path in (registry / "v2").iterdir()}
    publish(registry, candidate)
    assert {path: path.read_bytes() for path in (registry / "v2").iterdir()} == before
    assert newest_bundle(registry) == registry / "v3"


def test_newest_bundle_with_a_creation_time_that_is_no_time_raises(registry: Path, tmp_path: Path) -> None:
    write_version(registry / "v9", "v9", "yesterday")
    candidate = write_version(tmp_path / "candidate", "v0", "2025-01-01T00:00:00+00:00")
    with pytest.raises(DataError, match="is not a time"):
        publish(registry, candidate)


def test_prune_removes_the_oldest_except_protected_versions(registry: Path) -> None:
    assert prune(registry, 1, ("v1", None)) == ["v2"]
    assert list(find_bundles(registry)) == ["v1", "v3"]
    assert prune(registry, 5, ()) == []


@pytest.mark.parametrize(
    ("training_data", "expected"),
    [({"last_timestamp": 5.5}, 5.5), ({}, CREATED), ({"last_timestamp": "late"}, CREATED)],
)
def test_trained_until_is_the_recorded_timestamp_or_the_creation(
    tmp_path: Path, training_data: dict[str, object], expected: float
) -> None:
    write_bundle(tmp_path / "v1", replace(bundle_of(CONFIG), training_data=training_data))
    assert trained_until(tmp_path / "v1") == expected
    assert load_bundle(tmp_path / "v1").training_data == training_data


@pytest.mark.parametrize("training_data", [{}, {"last_timestamp": 253_402_300_799.0}])
def test_trained_until_is_never_in_the_future(tmp_path: Path, training_data: dict[str, object]) -> None:
    bundle = replace(bundle_of(CONFIG, created="2999-01-01T00:00:00+00:00"), training_data=training_data)
    write_bundle(tmp_path / "v1", bundle)
    os.utime(tmp_path / "v1" / "manifest.json", (1000.0, 1000.0))
    assert trained_until(tmp_path / "v1") == 1000.0
    os.utime(tmp_path / "v1" / "manifest.json", (32_503_680_000.0, 32_503_680_000.0))
    assert trained_until(tmp_path / "v1") == -math.inf


def test_unsigned_bundle_is_not_published_with_a_key(
    registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the trainer would sign what anybody may have written."""
    candidate = write_version(tmp_path / "candidate", "v4", "2026-01-04T00:00:00+00:00")
    monkeypatch.setenv("RECBLR_BUNDLE_KEY", "k" * 32)
    for use in (lambda: publish(tmp_path / "empty", candidate), lambda: newest_bundle(registry)):
        with pytest.raises(BundleError, match="not signed"):
            use()
    with pytest.raises(BundleError, match="not signed"):
        trained_until(registry / "v3")
    assert not (tmp_path / "empty").exists()
