"""Damage to bundles, for the tests that must see them refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model.bundle.bundle import ITEMS, MANIFEST, WEIGHTS, BundleError, load_bundle
from model.config import ModelConfig

CONFIG = ModelConfig(items=6, dim=4, expansion=1, conv_width=2, layers=1)
NORM = "layer_norm.weight"
Damage = Callable[[Path], None]


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
    """Update the manifest's checksums, so that later checks are reached."""
    files = {}
    for name in (WEIGHTS, ITEMS):
        data = (folder / name).read_bytes()
        files[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    manifest_with(files=files)(folder)
