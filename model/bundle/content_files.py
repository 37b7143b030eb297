"""Files of a bundle's content encoder.

    content.json           format, kinds of the attributes, quantiles of numbers, scale of the shop's vectors
    content.safetensors    keys of the known values and words, weights and bias

A bundle has both or neither.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save as save_tensors

from model.bundle.manifest import CONTENT, CONTENT_WEIGHTS, BundleError, Manifest, verified_file
from model.bundle.safetensors_reader import MAX_HEADER_BYTES, parse_tensors
from model.config import ModelConfig
from model.content.content_encoder import ContentEncoder
from model.content.feature_space import FeatureSpace, NumberField
from model.content.item_content import BOOL, NUMBER, STRING, STRINGS, TIME

_FORMAT = 1
_MAX_COLUMNS = 1 << 20
_MAX_JSON_BYTES = 1 << 24
_KINDS = (BOOL, NUMBER, STRING, STRINGS, TIME)
_PARSE_ERRORS = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


def encoder_tensors(encoder: ContentEncoder) -> dict[str, NDArray[Any]]:
    """Return the arrays of an encoder by name."""
    return {
        "keys": encoder.space.keys,
        "vector_mean": encoder.space.vector_mean,
        "weights": encoder.weights,
        "bias": encoder.bias,
    }


def encode_content_files(encoder: ContentEncoder) -> dict[str, bytes]:
    """Return the files of an encoder by name."""
    description = {
        "format": _FORMAT,
        "kinds": dict(encoder.space.kinds),
        "numbers": [{"name": each.name, "edges": list(each.edges)} for each in encoder.space.numbers],
        "vector_scale": encoder.space.vector_scale,
    }
    return {
        CONTENT: (json.dumps(description, allow_nan=False, indent=1) + "\n").encode(),
        CONTENT_WEIGHTS: save_tensors(encoder_tensors(encoder)),
    }


def load_content_files(manifest: Manifest, config: ModelConfig) -> ContentEncoder | None:
    """Verify and read a bundle's encoder, None if it has none.

    Raises:
        BundleError: a file is damaged, of an unknown format or does not fit the config.
    """
    if CONTENT not in manifest.files:
        return None
    path = manifest.folder / CONTENT
    try:
        description = json.loads(bytes(verified_file(manifest, CONTENT, _MAX_JSON_BYTES)))
        if description["format"] != _FORMAT:
            raise ValueError(f"content encoder of format {description['format']!r}, and {_FORMAT} is known")
        limit = _MAX_COLUMNS * (8 + 4 * config.dim) + MAX_HEADER_BYTES
        path = manifest.folder / CONTENT_WEIGHTS
        tensors = parse_tensors(verified_file(manifest, CONTENT_WEIGHTS, limit, shared=True))
        encoder = _encoder(description, tensors)
        check_encoder(encoder, config)
    except _PARSE_ERRORS as error:
        raise BundleError(f"{path} is not of a content encoder: {error!r:.200}") from None
    return encoder


def check_encoder(encoder: ContentEncoder, config: ModelConfig) -> None:
    """Check shapes, types and values of an encoder; raises `BundleError`."""
    space = encoder.space
    shapes = {
        "keys": (np.uint64, (len(space.keys),)),
        "vector_mean": (np.float32, (len(space.vector_mean),)),
        "weights": (np.float32, (space.columns, config.dim)),
        "bias": (np.float32, (config.dim,)),
    }
    for name, array in encoder_tensors(encoder).items():
        kind, shape = shapes[name]
        if array.dtype != kind or array.shape != shape:
            raise BundleError(f"{CONTENT_WEIGHTS}: {name} must be {kind.__name__} {shape}, not {array.shape}")
        if not np.isfinite(array).all():
            raise BundleError(f"{CONTENT_WEIGHTS}: {name} holds NaN or infinite values")
    if (space.keys[1:] <= space.keys[:-1]).any():
        raise BundleError(f"{CONTENT_WEIGHTS}: keys must ascend")
    if any(kind not in _KINDS for kind in space.kinds.values()):
        raise BundleError(f"{CONTENT}: the kind of an attribute is one of {', '.join(_KINDS)}")
    if any(space.kinds.get(each.name) not in (NUMBER, TIME) for each in space.numbers):
        raise BundleError(f"{CONTENT}: only numbers and times have quantiles")
    for each in space.numbers:
        if not each.edges or not np.isfinite(each.edges).all() or (np.diff(each.edges) <= 0.0).any():
            raise BundleError(f"{CONTENT}: the quantiles of {each.name!r} must be finite and ascend")
    if not (math.isfinite(space.vector_scale) and space.vector_scale > 0.0):
        raise BundleError(f"{CONTENT}: vector_scale must be a finite number above 0")


def _encoder(description: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> ContentEncoder:
    if set(tensors) != {"keys", "vector_mean", "weights", "bias"}:
        raise ValueError(f"arrays {sorted(tensors)}")
    numbers = [NumberField(str(each["name"]), tuple(map(float, each["edges"]))) for each in description["numbers"]]
    kinds = {str(name): str(kind) for name, kind in description["kinds"].items()}
    space = FeatureSpace(kinds, tensors["keys"], numbers, tensors["vector_mean"], float(description["vector_scale"]))
    if tensors["keys"].ndim != 1 or tensors["vector_mean"].ndim != 1:
        raise ValueError("keys and vector_mean must be vectors")
    return ContentEncoder(space, tensors["weights"], tensors["bias"])
