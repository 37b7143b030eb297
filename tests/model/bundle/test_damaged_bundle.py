"""Damaged bundles are refused in one line, and never executed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from model.bundle.bundle import ITEMS, MANIFEST, WEIGHTS, load_bundle
from tests.model.bundle.damage import NORM, Damage, config_with, manifest_with, refused, reseal


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
def test_flipped_byte_anywhere_is_refused(folder: Path, name: str) -> None:
    data = (folder / name).read_bytes()
    for position in {0, 9, len(data) // 3, len(data) // 2, len(data) - 1}:
        flipped = bytearray(data)
        flipped[position] ^= 1
        (folder / name).write_bytes(flipped)
        assert "SHA-256" in refused(folder)
    (folder / name).write_bytes(data)
    load_bundle(folder)


def test_flipped_byte_in_a_manifest_entry_is_refused(folder: Path) -> None:
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
def test_truncated_file_is_refused(folder: Path, name: str, kept: float) -> None:
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: int(kept * len(data))])
    refused(folder)


@pytest.mark.parametrize("name", [MANIFEST, WEIGHTS, ITEMS])
def test_missing_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    refused(folder)


@pytest.mark.parametrize("name", [MANIFEST, WEIGHTS, ITEMS])
def test_symlinked_file_is_refused(folder: Path, name: str) -> None:
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
        (manifest_with(training_data={"source": "half \ud83d"}), "cannot be read"),
        (config_with(items=7), ""),
        (config_with(items=10**30), "config.items"),
        (config_with(layers=2), "recurrent_layers.1"),
        (config_with(dim=True), "config.dim"),
        (config_with(conv_width=1), "config.conv_width"),
        (config_with(surprise=1), "surprise"),
        (manifest_with(config={"dim": 4}), "items"),
    ],
)
def test_wrong_manifest_entry_is_refused(folder: Path, damage: Damage, says: str) -> None:
    damage(folder)
    assert says in refused(folder)


@pytest.mark.parametrize("text", ["", "null", "[]", "{", "\x00", "\ud800", "[" * 200_000, '{"a":' * 100_000])
def test_manifest_that_is_not_json_is_refused(folder: Path, text: str) -> None:
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
        (item_with(None, item_id="half \ud83d"), "surrogate"),
        (item_with(None, popularity=1.5), "line 3"),
        (item_with(None, popularity=True), "line 3"),
        (item_with(None, popularity=-1), "line 3"),
        (item_with(None, popularity=10**400), "line 3"),
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


@pytest.mark.parametrize(
    "old", [{"title": "A shoe", "categories": ["shoes"]}, {"title": 3, "categories": "abc"}, {"title": "half \ud83d"}]
)
def test_titles_of_an_older_bundle_are_ignored(folder: Path, old: dict[str, object]) -> None:
    items = load_bundle(folder).items
    item_with(None, **old)(folder)
    assert load_bundle(folder).items == items
