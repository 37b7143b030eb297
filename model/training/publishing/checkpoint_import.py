"""Import a RecBole checkpoint of the published code as a bundle.

The scores are the same as those of the authors' code. Parameters have the same names. The beginning of a history
differs. The published code pads the sequence on the left to a power of two, and the recurrence runs over the padding,
where x = SiLU(conv bias). The state before the first item is therefore a constant per layer instead of zero. It
depends on the maximum length only. It becomes the bundle's `initial_state`.

The constant is computed with the published step, h = a h + sqrt(1 - a^2 + 1e-8) i x. The serving step leaves out
1e-8, as the paper does (Liu et al., CIKM 2024). This changes a step's input by a fraction of 5e-9 / (1 - a^2). It is
below 3e-6 for a <= 0.999, the largest `a` at the start of training.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ingest.errors import DataError
from model.bundle.bundle import Bundle, Item, Weights, new_version, parameter_shapes, write_bundle
from model.bundle.signature import signing_key
from model.config import ModelConfig
from model.training.publishing.torch_checkpoint import TensorDescription, TorchCheckpoint

_LAYER_PREFIX = "recurrent_layers.{}.behavior_modeling."
_MAX_LENGTH = 1 << 20
_PADDING_ID = "[PAD]"  # RecBole's id of row 0


def import_checkpoint(path: Path, items: Sequence[Item], max_length: int, out: Path) -> Bundle:
    """Write a checkpoint as the bundle `out`, and return the bundle.

    Args:
        path: the `.pth`.
        items: V items; row r of the embedding table belongs to items[r - 1].
        max_length: MAX_ITEM_LIST_LENGTH of the training. Scores equal those of the published code for histories up
            to that length.
        out: folder of the bundle.

    Raises:
        DataError: the checkpoint is damaged, holds another model, or does not fit the items.
        BundleError: `out` exists.
    """
    if not 1 <= max_length <= _MAX_LENGTH:
        raise DataError(f"the maximum length must be from 1 to {_MAX_LENGTH}, not {max_length}")
    with TorchCheckpoint(path) as checkpoint:
        tensors = checkpoint.tensors()
        config = _read_config(path, {name: checkpoint.shape(name, tensor) for name, tensor in tensors.items()})
        if len(items) != config.items:
            raise DataError(
                f"{path} has {config.items} items beside row 0, but {len(items)} ids are given; "
                "with --inter, give the filtering of its training (published: --min-user-events 5 "
                "--min-item-events 5), or give the ids with --items"
            )
        weights = _read_weights(path, checkpoint, tensors, config)
    weights["initial_state"] = padded_state(weights, config, max_length)
    now = datetime.now(UTC)
    bundle = Bundle(
        version=new_version(weights, now),
        created=now.isoformat(timespec="seconds"),
        config=config,
        weights=weights,
        items=items,
        training_data={"source": path.name, "imported": "published code", "max_length": max_length},
    )
    write_bundle(out, bundle, signing_key())
    return bundle


def _read_config(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> ModelConfig:
    try:
        rows, dim = shapes["item_embedding.weight"]
        hidden, _, taps = shapes[_LAYER_PREFIX.format(0) + "conv1d.weight"]
    except (KeyError, ValueError):
        raise DataError(f"{path} is not a RecBLR checkpoint: its parameters have other names or shapes") from None
    layers = sum(name.endswith("behavior_modeling.Lambda") for name in shapes)
    if not dim or hidden % dim:
        raise DataError(
            f"{path}: {hidden} channels are not a multiple of the width {dim}; such an expansion is not supported"
        )
    return ModelConfig(
        items=rows - 1, dim=dim, expansion=hidden // dim, conv_width=taps, layers=layers, start_token=False
    )


def _read_weights(
    path: Path, checkpoint: TorchCheckpoint, tensors: Mapping[str, TensorDescription], config: ModelConfig
) -> dict[str, NDArray[np.float32]]:
    expected = {name: shape for name, shape in parameter_shapes(config).items() if name != "initial_state"}
    if unexpected := sorted(set(expected) ^ set(tensors)):
        names = ", ".join(map(ascii, unexpected[:4]))
        raise DataError(f"{path} is not a RecBLR checkpoint: missing or additional parameters {names}")
    weights = {}
    for name, shape in expected.items():
        if (found := checkpoint.shape(name, tensors[name])) != shape:
            raise DataError(f"{path}: {name} must have the shape {shape}, not {found}")
        weights[name] = checkpoint.array(name, tensors[name])
    return weights


def padded_state(weights: Weights, config: ModelConfig, max_length: int) -> NDArray[np.float32]:
    """Compute the published code's state before the first item of a history.

    Args:
        weights: parameters by name.
        config: configuration of the model.
        max_length: length to which the published code pads, before it pads to a power of two.

    Returns:
        (L, K, H) float32; computed in float64.
    """
    padded_steps = (1 << (max_length - 1).bit_length()) - max_length
    state = np.zeros(config.state_shape)
    for layer in range(config.layers):
        layer_weights = {
            name: weights[_LAYER_PREFIX.format(layer) + name].astype(np.float64)
            for name in ("conv1d.bias", "gates.weight", "gates.bias", "Lambda")
        }
        x = layer_weights["conv1d.bias"] * _sigmoid(layer_weights["conv1d.bias"])
        r, i = np.split(_sigmoid(layer_weights["gates.weight"] @ x + layer_weights["gates.bias"]), 2)
        a = np.exp(-np.logaddexp(0.0, layer_weights["Lambda"]) * r)
        step = np.sqrt(1.0 - a * a + 1e-8) * i * x
        for _ in range(padded_steps):
            state[layer, -1] = a * state[layer, -1] + step
    return state.astype(np.float32)


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = np.exp(-np.logaddexp(0.0, -x))
    return result


def items_from_text(path: Path) -> list[Item]:
    """Read items from a file of ids, one per line.

    The lines are in order of rows from 1. A first line `[PAD]` stands for row 0 and is skipped.
    """
    try:
        ids = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    return [Item(item_id) for item_id in ids[ids[:1] == [_PADDING_ID] :]]


def items_from_inter(path: Path, min_user_events: int, min_item_events: int) -> list[Item]:
    """Read items in the order of rows that RecBole gives them.

    RecBole numbers ids in order of first appearance in the file, from row 1. Before that it drops lines without a
    user or an item, and repeatedly all users and items with too few events. This holds without an `.item` file, a
    value filter and the removal of duplicates.

    Args:
        path: RecBole's atomic file `.inter`.
        min_user_events: lower end of RecBole's `user_inter_num_interval`.
        min_item_events: lower end of RecBole's `item_inter_num_interval`.
    """
    events = _read_pairs(path)
    while True:
        users, items = (Counter(column) for column in zip(*events, strict=True)) if events else (Counter(), Counter())
        kept = [(u, i) for u, i in events if users[u] >= min_user_events and items[i] >= min_item_events]
        if len(kept) == len(events):
            return [Item(item_id, count) for item_id, count in items.items()]
        events = kept


def _read_pairs(path: Path) -> list[tuple[str, str]]:
    try:
        with path.open(encoding="utf-8") as file:
            names = [column.split(":")[0] for column in file.readline().rstrip("\r\n").split("\t")]
            user, item = names.index("user_id"), names.index("item_id")
            lines = (line.rstrip("\r\n").split("\t") for line in file)
            return [(f[user], f[item]) for f in lines if len(f) == len(names) and f[user] and f[item]]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    except ValueError:
        raise DataError(f"{path} is not a RecBole .inter file: its header has no user_id and item_id") from None
