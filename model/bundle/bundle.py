"""Bundle: the folder with a trained model, from training to serving.

    manifest.json          format, version, config, metrics, training data, size and SHA-256 of each other file
    weights.safetensors    float32 arrays by the parameter names of the published code, and `initial_state`
    items.jsonl            one object a line, row 1 first: item_id and popularity
    content.json, content.safetensors
                           the encoder of new items, if the model has one (model/bundle/content_files.py)
    manifest.sig           HMAC-SHA256 of the manifest, if the publisher has a key (model/bundle/signature.py)

Nothing in a bundle is executed or unpickled. A reader checks the signature if it has the key, then names, sizes and
checksums, and only then parses the files.
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

from model.bundle.bundle_items import Item, check_items, encode_items, parse_items
from model.bundle.content_files import check_encoder, encode_content_files, encoder_tensors, load_content_files
from model.bundle.event_types import EventTypes, check_event_types, encode_event_types, parse_event_types
from model.bundle.manifest import (
    FORMAT,
    ITEMS,
    MANIFEST,
    WEIGHTS,
    BundleError,
    Manifest,
    find_bundles,
    read_manifest,
    verified_file,
)
from model.bundle.safetensors_reader import MAX_HEADER_BYTES, FileBytes, parse_tensors
from model.bundle.signature import SIGNATURE, signature_of
from model.config import ConfigError, ModelConfig
from model.content.content_encoder import ContentEncoder

__all__ = [
    "FORMAT",
    "ITEMS",
    "MANIFEST",
    "WEIGHTS",
    "Bundle",
    "BundleError",
    "Item",
    "Manifest",
    "Weights",
    "find_bundles",
    "load_bundle",
    "load_files",
    "new_version",
    "parameter_shapes",
    "read_manifest",
    "write_bundle",
]

Weights = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified model. `items[r - 1]` describes embedding row r.

    `content` gives items without a row a vector of the same space; None if the model cannot. `event_types` says what
    each type of event does; None for a model without types.
    """

    version: str
    created: str
    config: ModelConfig
    weights: Weights
    items: Sequence[Item]
    metrics: Mapping[str, Any] = field(default_factory=dict)
    training_data: Mapping[str, Any] = field(default_factory=dict)
    content: ContentEncoder | None = None
    event_types: EventTypes | None = None


def parameter_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Return name and shape of every array in the weights file."""
    D, H, K = config.dim, config.hidden, config.conv_width
    shapes: dict[str, tuple[int, ...]] = {
        "item_embedding.weight": (config.items + 1, D),
        "layer_norm.weight": (D,),
        "layer_norm.bias": (D,),
        "initial_state": config.state_shape,
    }
    if config.event_types:
        shapes["type_embedding.weight"] = (config.event_types, D)
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


def new_version(weights: Weights, created: datetime, content: ContentEncoder | None = None) -> str:
    """Return a version that sorts by creation time.

    It is unique by weights and encoder.
    """
    hashed = hashlib.sha256(save_tensors(dict(weights)))
    if content is not None:
        hashed.update(save_tensors(encoder_tensors(content)))
    digest = hashed.hexdigest()[:8]
    return f"{created.astimezone(UTC):%Y%m%dT%H%M%SZ}-{digest}"


def write_bundle(folder: Path, bundle: Bundle, key: bytes | None = None) -> None:
    """Write `bundle` as the new folder `folder`, signed if `key` is given.

    The files are written to a temporary folder, which is then renamed, so readers never see a partial bundle.

    Raises:
        BundleError: the folder exists, or weights or items do not fit the config.
    """
    _check_weights(bundle.weights, bundle.config)
    check_items(bundle.items, bundle.config)
    check_event_types(bundle.event_types, bundle.config)
    files = {WEIGHTS: save_tensors(dict(bundle.weights)), ITEMS: encode_items(bundle.items)}
    if bundle.content is not None:
        check_encoder(bundle.content, bundle.config)
        files |= encode_content_files(bundle.content)
    manifest = {
        "format": FORMAT,
        "version": bundle.version,
        "created": bundle.created,
        "config": bundle.config.to_dict(),
        "metrics": dict(bundle.metrics),
        "training_data": dict(bundle.training_data),
        **encode_event_types(bundle.event_types),
        "files": {
            name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()
        },
    }
    if folder.exists():
        raise BundleError(f"{folder} exists already; choose another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        files[MANIFEST] = (json.dumps(manifest, indent=2, allow_nan=False) + "\n").encode()
        if key is not None:
            files[SIGNATURE] = (signature_of(files[MANIFEST], key) + "\n").encode()
        for name, data in files.items():
            with (temporary / name).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        temporary.chmod(0o755)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def load_bundle(folder: Path, key: bytes | None = None) -> Bundle:
    """Verify and read the bundle in `folder`; raises `BundleError`.

    With `key` the bundle must be signed.
    """
    return load_files(read_manifest(folder, key))


def load_files(manifest: Manifest) -> Bundle:
    """Verify and read the files of a checked manifest; raises `BundleError`."""
    folder = manifest.folder
    try:
        config = ModelConfig.from_dict(manifest.config)
    except ConfigError as error:
        raise BundleError(f"{folder / MANIFEST}: {error}") from None
    weights = _parse_weights(folder / WEIGHTS, _weights_file(manifest, config))
    items = parse_items(folder / ITEMS, verified_file(manifest, ITEMS))
    _check_weights(weights, config)
    check_items(items, config)
    event_types = parse_event_types(folder / MANIFEST, manifest.event_types)
    check_event_types(event_types, config)
    content = load_content_files(manifest, config)
    return Bundle(
        version=manifest.version,
        created=manifest.created,
        config=config,
        weights=weights,
        items=items,
        metrics=manifest.metrics,
        training_data=manifest.training_data,
        content=content,
        event_types=event_types,
    )


def _weights_file(manifest: Manifest, config: ModelConfig) -> FileBytes:
    largest = 4 * sum(math.prod(shape) for shape in parameter_shapes(config).values()) + MAX_HEADER_BYTES
    return verified_file(manifest, WEIGHTS, largest, shared=True)


def _parse_weights(path: Path, data: FileBytes) -> dict[str, NDArray[np.float32]]:
    try:
        return parse_tensors(data)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise BundleError(f"{path} is not a safetensors file: {error!r:.200}") from None


def _check_weights(weights: Weights, config: ModelConfig) -> None:
    shapes = parameter_shapes(config)
    if set(weights) != set(shapes):
        unexpected = sorted(set(weights) ^ set(shapes))
        names = ", ".join(map(ascii, unexpected[:4]))
        raise BundleError(f"{WEIGHTS} does not fit the config; missing or unknown: {names}")
    for name, shape in shapes.items():
        array = weights[name]
        if array.dtype != np.float32 or array.shape != shape:
            raise BundleError(f"{WEIGHTS}: {name} must be float32 {shape}, not {array.dtype} {array.shape}")
        if not np.isfinite(array).all():
            raise BundleError(f"{WEIGHTS}: {name} holds NaN or infinite values")
