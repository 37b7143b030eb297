"""The bundle: the folder that crosses from training to serving (design section 6).

    manifest.json          format, version, config, metrics, training data, size and SHA-256 of each other file
    weights.safetensors    float32 arrays by the parameter names of the published code, and `initial_state`
    items.jsonl            one object a line, row 1 first: item_id, popularity, optional title and categories
    manifest.sig           only where the publisher has a key: the manifest's HMAC-SHA256 (model/bundle/signature.py)

Nothing in it is executed or unpickled. A reader checks the signature if it has the key,
then names, sizes and checksums, before it parses a byte.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save as save_tensors

from model.bundle.manifest import (
    FORMAT,
    ITEMS,
    MANIFEST,
    WEIGHTS,
    BundleError,
    find_bundles,
    read_manifest,
    verified_file,
)
from model.bundle.safetensors_reader import LARGEST_HEADER, FileBytes, parse_tensors
from model.bundle.signature import SIGNATURE, signature_of
from model.config import ConfigError, ModelConfig

__all__ = [
    "FORMAT",
    "ITEMS",
    "MANIFEST",
    "WEIGHTS",
    "Bundle",
    "BundleError",
    "Item",
    "Weights",
    "find_bundles",
    "load_bundle",
    "new_version",
    "parameter_shapes",
    "read_manifest",
    "write_bundle",
]

Weights = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Item:
    """A catalogue entry. `popularity` counts its training events."""

    item_id: str
    popularity: int = 0
    title: str | None = None
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified model. `items[r - 1]` describes embedding row r."""

    version: str
    created: str
    config: ModelConfig
    weights: Weights
    items: Sequence[Item]
    metrics: Mapping[str, Any] = field(default_factory=dict)
    training_data: Mapping[str, Any] = field(default_factory=dict)


def parameter_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every array in the weights file."""
    D, H, K = config.dim, config.hidden, config.conv_width
    shapes: dict[str, tuple[int, ...]] = {
        "item_embedding.weight": (config.items + 1, D),
        "layer_norm.weight": (D,),
        "layer_norm.bias": (D,),
        "initial_state": config.state_shape,
    }
    layer: dict[str, tuple[int, ...]] = {
        "behavior_modeling.input.weight": (2 * H, D),
        "behavior_modeling.conv1d.weight": (H, 1, K),
        "behavior_modeling.conv1d.bias": (H,),
        "behavior_modeling.gates.weight": (2 * H, H),
        "behavior_modeling.gates.bias": (2 * H,),
        "behavior_modeling.Lambda": (H,),
        "behavior_modeling.output.weight": (D, H),
        "layer_norm.weight": (D,),
        "layer_norm.bias": (D,),
        "ffn.w_1.weight": (4 * D, D),
        "ffn.w_1.bias": (4 * D,),
        "ffn.w_2.weight": (D, 4 * D),
        "ffn.w_2.bias": (D,),
        "ffn.layer_norm.weight": (D,),
        "ffn.layer_norm.bias": (D,),
    }
    for index in range(config.layers):
        shapes.update({f"recurrent_layers.{index}.{name}": shape for name, shape in layer.items()})
    return shapes


def new_version(weights: Weights, created: datetime) -> str:
    """A version that sorts by time of creation and differs with the weights."""
    digest = hashlib.sha256(save_tensors(dict(weights))).hexdigest()[:8]
    return f"{created.astimezone(UTC):%Y%m%dT%H%M%SZ}-{digest}"


def write_bundle(folder: Path, bundle: Bundle, key: bytes | None = None) -> None:
    """Write `bundle` as `folder`, which must not exist yet: aside first, then renamed, so no reader sees half.

    With `key` it is signed.
    """
    _check_weights(bundle.weights, bundle.config)
    _check_items(bundle.items, bundle.config)
    files = {WEIGHTS: save_tensors(dict(bundle.weights)), ITEMS: _encode_items(bundle.items)}
    manifest = {
        "format": FORMAT,
        "version": bundle.version,
        "created": bundle.created,
        "config": bundle.config.to_dict(),
        "metrics": dict(bundle.metrics),
        "training_data": dict(bundle.training_data),
        "files": {
            name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()
        },
    }
    if folder.exists():
        raise BundleError(f"{folder} exists already; choose another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        files[MANIFEST] = (json.dumps(manifest, indent=2, allow_nan=False) + "\n").encode()
        if key is not None:
            files[SIGNATURE] = (signature_of(files[MANIFEST], key) + "\n").encode()
        for name, data in files.items():
            with (aside / name).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        aside.chmod(0o755)
        aside.rename(folder)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def load_bundle(folder: Path, key: bytes | None = None) -> Bundle:
    """Verify and read the bundle in `folder`, signed with `key` if one is given; raises `BundleError`."""
    manifest = read_manifest(folder, key)
    try:
        config = ModelConfig.from_dict(manifest["config"])
    except ConfigError as error:
        raise BundleError(f"{folder / MANIFEST}: {error}") from None
    weights = _parse_weights(folder / WEIGHTS, verified_file(folder, WEIGHTS, manifest, _largest_weights(config)))
    items = _parse_items(folder / ITEMS, verified_file(folder, ITEMS, manifest))
    _check_weights(weights, config)
    _check_items(items, config)
    return Bundle(
        version=manifest["version"],
        created=manifest["created"],
        config=config,
        weights=weights,
        items=items,
        metrics=manifest["metrics"],
        training_data=manifest["training_data"],
    )


def _largest_weights(config: ModelConfig) -> int:
    return 4 * sum(math.prod(shape) for shape in parameter_shapes(config).values()) + LARGEST_HEADER


def _parse_weights(path: Path, data: FileBytes) -> dict[str, NDArray[np.float32]]:
    try:
        return parse_tensors(data)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise BundleError(f"{path} is not a safetensors file: {error!r:.200}") from None


def _parse_items(path: Path, data: FileBytes) -> list[Item]:
    items = []
    try:
        for line in str(data, "utf-8").splitlines():
            entry = json.loads(line)
            categories = entry.get("categories", [])
            if not isinstance(categories, list):
                raise TypeError("categories must be a list")
            items.append(Item(entry["item_id"], entry["popularity"], entry.get("title"), tuple(categories)))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BundleError(f"{path}, line {len(items) + 1}: not an item ({error!r})") from None
    return items


def _encode_items(items: Sequence[Item]) -> bytes:
    lines = []
    for item in items:
        entry: dict[str, Any] = {"item_id": item.item_id, "popularity": item.popularity}
        if item.title is not None:
            entry["title"] = item.title
        if item.categories:
            entry["categories"] = list(item.categories)
        lines.append(json.dumps(entry, ensure_ascii=True, separators=(",", ":")) + "\n")
    return "".join(lines).encode()


def _check_weights(weights: Weights, config: ModelConfig) -> None:
    shapes = parameter_shapes(config)
    if set(weights) != set(shapes):
        odd = sorted(set(weights) ^ set(shapes))
        raise BundleError(f"{WEIGHTS} lacks or has beyond the config: {', '.join(map(ascii, odd[:4]))}")
    for name, shape in shapes.items():
        array = weights[name]
        if array.dtype != np.float32 or array.shape != shape:
            raise BundleError(f"{WEIGHTS}: {name} must be float32 {shape}, not {array.dtype} {array.shape}")
        if not np.isfinite(array).all():
            raise BundleError(f"{WEIGHTS}: {name} holds NaN or infinite values")


def _check_items(items: Sequence[Item], config: ModelConfig) -> None:
    if len(items) != config.items:
        raise BundleError(f"{ITEMS} has {len(items)} items, the config says {config.items}")
    for row, item in enumerate(items, start=1):
        if not isinstance(item.item_id, str) or not 1 <= len(item.item_id) <= 256:
            raise BundleError(f"{ITEMS}, line {row}: item_id must be a string of 1 to 256 characters")
        if type(item.popularity) is not int or not 0 <= item.popularity < 2**63:
            raise BundleError(f"{ITEMS}, line {row}: popularity must be a whole number from 0 to 2^63 - 1")
        if not isinstance(item.title, str | None):
            raise BundleError(f"{ITEMS}, line {row}: title must be a string")
        if not all(isinstance(category, str) for category in item.categories):
            raise BundleError(f"{ITEMS}, line {row}: categories must be strings")
    if len({item.item_id for item in items}) != len(items):
        raise BundleError(f"{ITEMS} names an item twice")
