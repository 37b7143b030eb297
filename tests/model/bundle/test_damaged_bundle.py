"""Every damage to a bundle is refused with one line, and nothing of it is run or loaded."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from model.bundle.bundle import ITEMS, MANIFEST, WEIGHTS, BundleError, load_bundle, write_bundle
from model.config import ModelConfig
from tests.model.builders import bundle_of

CONFIG = ModelConfig(items=6, dim=4, expansion=1, conv_width=2, layers=1)
NORM = "layer_norm.weight"
Damage = Callable[[Path], None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "v1", bundle_of(CONFIG))
    return tmp_path / "v1"


def refused(folder: Path) -> str:
    with pytest.raises(BundleError) as error:
        load_bundle(folder)
    message = str(error.value)
    assert message
    assert len(message.splitlines()) == 1
    assert len(message) < 500
    return message


def manifest_with(**entries: Any) -> Damage:
    def damage(folder: Path) -> None:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        (folder / MANIFEST).write_text(json.dumps(manifest | entries))

    return damage


def config_with(**entries: Any) -> Damage:
    return manifest_with(config=CONFIG.to_dict() | entries)


def reseal(folder: Path) -> None:
    """Make the manifest name the files as they are now, so that only the next check can refuse them."""
    files = {}
    for name in (WEIGHTS, ITEMS):
        data = (folder / name).read_bytes()
        files[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    manifest_with(files=files)(folder)


def weights_with(change: Callable[[dict[str, np.ndarray]], object]) -> Damage:
    def damage(folder: Path) -> None:
        weights = load((folder / WEIGHTS).read_bytes())
        change(weights)
        (folder / WEIGHTS).write_bytes(save(weights))
        reseal(folder)

    return damage


def item_with(line: str | None, **entries: Any) -> Damage:
    """The third item changed, or its whole line replaced."""

    def damage(folder: Path) -> None:
        lines = (folder / ITEMS).read_text().splitlines()
        lines[2] = json.dumps(json.loads(lines[2]) | entries) if line is None else line
        (folder / ITEMS).write_text("".join(line + "\n" for line in lines if line))
        reseal(folder)

    return damage


@pytest.mark.parametrize("name", [WEIGHTS, ITEMS])
def test_a_flipped_byte_anywhere_is_refused(folder: Path, name: str) -> None:
    data = (folder / name).read_bytes()
    for position in {0, 9, len(data) // 3, len(data) // 2, len(data) - 1}:
        flipped = bytearray(data)
        flipped[position] ^= 1
        (folder / name).write_bytes(flipped)
        assert "SHA-256" in refused(folder)
    (folder / name).write_bytes(data)
    load_bundle(folder)


def test_a_flipped_byte_in_what_the_manifest_vouches_for_is_refused(folder: Path) -> None:
    text = (folder / MANIFEST).read_text()
    entries = ('"format": 1', '"items": 6', '"dim": 4', '"bytes": ', '"sha256": "', '"files"', '"version"', "{")
    for entry in entries:
        at = text.index(entry) + len(entry) - 1
        flipped = bytearray(text.encode())
        flipped[at + entry.endswith((" ", ': "'))] ^= 2
        (folder / MANIFEST).write_bytes(flipped)
        refused(folder)


@pytest.mark.parametrize("name", [MANIFEST, WEIGHTS, ITEMS])
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_a_truncated_file_is_refused(folder: Path, name: str, kept: float) -> None:
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: int(kept * len(data))])
    refused(folder)


@pytest.mark.parametrize("name", [MANIFEST, WEIGHTS, ITEMS])
def test_a_missing_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    refused(folder)


@pytest.mark.parametrize("name", [MANIFEST, WEIGHTS, ITEMS])
def test_a_symlinked_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).rename(folder.parent / name)
    (folder / name).symlink_to(folder.parent / name)
    assert name in refused(folder)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (manifest_with(format=2), "format 1"),
        (manifest_with(format="1"), "format 1"),
        (manifest_with(version="a/b"), "version"),
        (manifest_with(version="../x"), "version"),
        (manifest_with(version="a\nb"), "version"),
        (manifest_with(version=""), "version"),
        (manifest_with(version=7), "version"),
        (manifest_with(metrics=[]), "metrics"),
        (manifest_with(files={"../" + WEIGHTS: {}, ITEMS: {}}), "files"),
        (manifest_with(files={WEIGHTS: {}, ITEMS: {}, "../../etc/passwd": {}}), "files"),
        (manifest_with(files={WEIGHTS: {}}), "files"),
        (manifest_with(files={WEIGHTS: {}, ITEMS: {}}), "verified"),
        (manifest_with(files={WEIGHTS: None, ITEMS: None}), "verified"),
        (manifest_with(training_data={"filler": "x" * (1 << 20)}), "larger"),
        (config_with(items=7), ""),
        (config_with(items=10**30), "config.items"),
        (config_with(layers=2), "recurrent_layers.1"),
        (config_with(dim=True), "config.dim"),
        (config_with(conv_width=1), "config.conv_width"),
        (config_with(surprise=1), "surprise"),
        (manifest_with(config={"dim": 4}), "items"),
    ],
)
def test_a_wrong_manifest_is_refused(folder: Path, damage: Damage, says: str) -> None:
    damage(folder)
    assert says in refused(folder)


@pytest.mark.parametrize("text", ["", "null", "[]", "{", "\x00", "\ud800", "[" * 200_000, '{"a":' * 100_000])
def test_a_manifest_that_is_none_is_refused(folder: Path, text: str) -> None:
    (folder / MANIFEST).write_bytes(text.encode(errors="surrogatepass"))
    refused(folder)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (weights_with(lambda w: w.update({NORM: w[NORM][:-1]})), NORM),
        (weights_with(lambda w: w.update({NORM: w[NORM][None]})), NORM),
        (weights_with(lambda w: w.update({NORM: w[NORM].astype(np.float64)})), "float64"),
        (weights_with(lambda w: w.update({NORM: w[NORM].astype(np.float16)})), "float16"),
        (weights_with(lambda w: w.update({NORM: w[NORM] * np.float32(np.nan)})), "NaN"),
        (weights_with(lambda w: w.update({"initial_state": w["initial_state"] * np.float32(np.inf)})), "NaN"),
        (weights_with(lambda w: w.pop(NORM)), NORM),
        (weights_with(lambda w: w.pop("initial_state")), "initial_state"),
        (weights_with(lambda w: w.update({"surprise": w[NORM]})), "surprise"),
        (weights_with(lambda w: w.update({"two\nlines": w[NORM]})), "two"),
        (item_with(None, item_id="i1"), "twice"),
        (item_with(None, item_id=""), "line 3"),
        (item_with(None, item_id="x" * 257), "line 3"),
        (item_with(None, item_id=3), "line 3"),
        (item_with(None, popularity=1.5), "line 3"),
        (item_with(None, popularity=True), "line 3"),
        (item_with(None, popularity=-1), "line 3"),
        (item_with(None, popularity=10**400), "line 3"),
        (item_with(None, title=3), "line 3"),
        (item_with(None, categories="abc"), "line 3"),
        (item_with(None, categories=[1]), "line 3"),
        (item_with(""), "5 items"),
        (item_with("{}\n{}"), "line 3"),
        (item_with("not json"), "line 3"),
        (item_with('["i3", 1]'), "line 3"),
        (item_with("[" * 100_000), "line 3"),
        (item_with('{"item_id":"i3","popularity":1}\n{"item_id":"i7","popularity":1}'), "7 items"),
    ],
)
def test_files_that_do_not_fit_the_config_are_refused(folder: Path, damage: Damage, says: str) -> None:
    damage(folder)
    assert says in refused(folder)


@pytest.mark.parametrize("size", [1 << 19, 1 << 21, 1 << 40, 2**64 - 1])
def test_weights_whose_header_is_none_or_too_large_are_refused(folder: Path, size: int) -> None:
    """A safetensors file begins with the size of its header, which a reader would otherwise set aside memory for."""
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", size) + b" " * min(size, 1 << 21))
    reseal(folder)
    assert WEIGHTS in refused(folder)


def entry_with(**entry: Any) -> str:
    whole = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} | entry
    return json.dumps({NORM: whole})


@pytest.mark.parametrize(
    "header",
    [
        entry_with(shape=[10**30], data_offsets=[0, 4 * 10**30]),
        entry_with(shape=[10**30, 0], data_offsets=[0, 0]),
        entry_with(shape=[10**30, 0], data_offsets=[10**30, 10**30]),
        entry_with(shape=[1e30], data_offsets=[0, 4e30]),
        entry_with(shape=[float("inf")], data_offsets=[0, float("inf")]),
        entry_with(shape=[float("nan")]),
        entry_with(shape=[10**12, "a"]),
        entry_with(shape=[2] * 100_000),
        entry_with(dtype="x" * 100_000),
        entry_with(**{"two\nlines": 1}),
        json.dumps({NORM: 1}),
        "[]",
    ],
    ids=lambda header: header[:60],
)
def test_weights_whose_header_promises_what_is_not_there_are_refused(folder: Path, header: str) -> None:
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(header)) + header.encode() + bytes(16))
    reseal(folder)
    assert "safetensors" in refused(folder)


class Payload:
    """Unpickled, it would leave a file behind."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self._mark),)


def test_a_pickle_in_place_of_the_weights_is_refused_and_not_run(folder: Path) -> None:
    mark = folder.parent / "ran"
    (folder / WEIGHTS).write_bytes(pickle.dumps(Payload(mark)))
    reseal(folder)
    assert "safetensors" in refused(folder)
    assert not mark.exists()
