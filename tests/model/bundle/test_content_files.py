"""Bundles with a content encoder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from model.bundle.bundle import MANIFEST, BundleError, load_bundle, new_version, write_bundle
from model.bundle.manifest import CONTENT, CONTENT_WEIGHTS
from model.content.content_encoder import ContentEncoder
from model.training.content.feature_fit import fit_feature_space
from tests.model.builders import bundle_of
from tests.model.bundle.damage import CONFIG, refused
from tests.model.content.made_up_items import made_up_items


def encoder(seed: int = 0, *, vectors: bool = True) -> ContentEncoder:
    space = fit_feature_space(made_up_items(60, seed, vectors=vectors))
    rng = np.random.default_rng(seed)
    shape = (space.columns, CONFIG.dim)
    return ContentEncoder(space, rng.standard_normal(shape).astype(np.float32), np.ones(CONFIG.dim, np.float32))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "v1", replace(bundle_of(CONFIG), content=encoder()))
    return tmp_path / "v1"


def replace_file(folder: Path, name: str, data: bytes) -> None:
    """Replace a file and its checksum, so that later checks are reached."""
    (folder / name).write_bytes(data)
    manifest = json.loads((folder / MANIFEST).read_bytes())
    manifest["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize("vectors", [True, False])
def test_loaded_encoder_gives_the_same_vectors(tmp_path: Path, vectors: bool) -> None:
    written = encoder(3, vectors=vectors)
    write_bundle(tmp_path / "v1", replace(bundle_of(CONFIG), content=written))
    loaded = load_bundle(tmp_path / "v1").content
    assert loaded is not None
    contents = made_up_items(50, 9)
    for found, expected in zip(loaded.encode_all(contents), written.encode_all(contents), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_bundle_without_encoder_loads_as_before(tmp_path: Path) -> None:
    write_bundle(tmp_path / "v1", bundle_of(CONFIG))
    assert load_bundle(tmp_path / "v1").content is None
    assert not (tmp_path / "v1" / CONTENT).exists()


@pytest.mark.parametrize("name", [CONTENT, CONTENT_WEIGHTS])
def test_flipped_byte_is_refused(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    assert "SHA-256" in refused(folder)


@pytest.mark.parametrize("name", [CONTENT, CONTENT_WEIGHTS])
def test_manifest_with_half_an_encoder_is_refused(folder: Path, name: str) -> None:
    manifest = json.loads((folder / MANIFEST).read_bytes())
    del manifest["files"][name]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    assert "nothing else" in refused(folder)


def _set(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(description: dict[str, Any]) -> None:
        description[name] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        _set("format", 2),
        _set("kinds", {"brand": "colour"}),
        _set("kinds", []),
        _set("numbers", [{"name": "price", "edges": []}]),
        _set("numbers", [{"name": "price", "edges": [2.0, 1.0]}]),
        _set("numbers", [{"name": "brand", "edges": [1.0]}]),
        _set("numbers", []),
        _set("numbers", None),
        _set("vector_scale", 0.0),
        _set("vector_scale", "x"),
        lambda description: description.pop("kinds"),
    ],
)
def test_description_that_is_wrong_is_refused(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    description = json.loads((folder / CONTENT).read_bytes())
    change(description)
    replace_file(folder, CONTENT, json.dumps(description).encode())
    assert "content" in refused(folder)


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b"[" * 10_000])
def test_description_that_is_no_object_is_refused(folder: Path, data: bytes) -> None:
    replace_file(folder, CONTENT, data)
    refused(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays: arrays.pop("bias"),
        lambda arrays: arrays.update(more=arrays["bias"]),
        lambda arrays: arrays.update(keys=arrays["keys"][::-1].copy()),
        lambda arrays: arrays.update(keys=np.repeat(arrays["keys"][:1], len(arrays["keys"]))),
        lambda arrays: arrays.update(keys=arrays["keys"].astype(np.float64)),
        lambda arrays: arrays.update(keys=arrays["keys"][None]),
        lambda arrays: arrays.update(weights=arrays["weights"][1:]),
        lambda arrays: arrays.update(weights=arrays["weights"] * np.float32(np.nan)),
        lambda arrays: arrays.update(weights=arrays["weights"].astype(np.float64)),
        lambda arrays: arrays.update(bias=arrays["bias"][1:]),
        lambda arrays: arrays.update(vector_mean=arrays["vector_mean"] * np.float32(np.inf)),
    ],
)
def test_arrays_that_do_not_fit_are_refused(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    arrays = load((folder / CONTENT_WEIGHTS).read_bytes())
    change(arrays)
    replace_file(folder, CONTENT_WEIGHTS, save(arrays))
    assert "content" in refused(folder)


def test_encoder_of_another_width_is_not_written(tmp_path: Path) -> None:
    wide = encoder()
    wide = replace(wide, bias=np.ones(CONFIG.dim + 1, np.float32))
    with pytest.raises(BundleError, match="bias must be"):
        write_bundle(tmp_path / "v1", replace(bundle_of(CONFIG), content=wide))


def test_version_depends_on_the_encoder() -> None:
    weights, now = bundle_of(CONFIG).weights, datetime(2026, 1, 1, tzinfo=UTC)
    versions = {new_version(weights, now, content) for content in (None, encoder(0), encoder(1))}
    assert len(versions) == 3
