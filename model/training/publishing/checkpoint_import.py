"""A checkpoint of the authors' published code becomes a bundle whose scores are the same.

Parameters map name by name. What differs is where a history begins. The published code pads the sequence to a power
of two on the left, with zeros in place of the conv's inputs, before the conv and the gates: at every padded position
x = SiLU(conv bias), and the recurrence runs over these. The state before the first item is therefore not zero but a
constant for each layer, which depends on the maximum length only; it becomes the bundle's `initial_state`.

The published step is h = a h + sqrt(1 - a^2 + 1e-8) i x. The constant is computed with it. The serving step has no
1e-8, which changes a step's input by a share of 5e-9 / (1 - a^2): below 3e-6 where a <= 0.999, the largest with which
training begins.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.bundle.bundle import Bundle, Item, Weights, new_version, parameter_shapes, write_bundle
from model.bundle.signature import signing_key
from model.config import ModelConfig
from model.training.errors import DataError
from model.training.publishing.torch_checkpoint import Checkpoint, TensorNote

_LAYER = "recurrent_layers.{}.behavior_modeling."
_LONGEST = 1 << 20
_PAD = "[PAD]"  # RecBole's name of row 0


def import_checkpoint(path: Path, items: Sequence[Item], max_length: int, out: Path) -> Bundle:
    """Write the checkpoint `path` as the bundle `out`; items[r - 1] is embedding row r's.

    `max_length` is the MAX_ITEM_LIST_LENGTH of its training; scores equal the published code's for histories up to
    that length. Raises `DataError` and `BundleError`.
    """
    if not 1 <= max_length <= _LONGEST:
        raise DataError(f"the maximum length must be from 1 to {_LONGEST}, not {max_length}")
    with Checkpoint(path) as checkpoint:
        notes = checkpoint.tensors()
        config = _config_of(path, {name: checkpoint.shape(name, note) for name, note in notes.items()})
        if len(items) != config.items:
            raise DataError(
                f"{path} has {config.items} items beside row 0, but {len(items)} ids are given; "
                "with --inter, name the filtering it was trained with (the published one: --min-user-events 5 "
                "--min-item-events 5), or give the ids with --items"
            )
        weights = _weights(path, checkpoint, notes, config)
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


def _config_of(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> ModelConfig:
    try:
        rows, dim = shapes["item_embedding.weight"]
        hidden, _, taps = shapes[_LAYER.format(0) + "conv1d.weight"]
    except (KeyError, ValueError):
        raise DataError(f"{path} is not a RecBLR checkpoint: its parameters have other names or shapes") from None
    layers = sum(name.endswith("behavior_modeling.Lambda") for name in shapes)
    if not dim or hidden % dim:
        raise DataError(
            f"{path}: {hidden} channels are no multiple of the width {dim}; such an expansion is not served"
        )
    return ModelConfig(
        items=rows - 1, dim=dim, expansion=hidden // dim, conv_width=taps, layers=layers, start_token=False
    )


def _weights(
    path: Path, checkpoint: Checkpoint, notes: Mapping[str, TensorNote], config: ModelConfig
) -> dict[str, NDArray[np.float32]]:
    wanted = {name: shape for name, shape in parameter_shapes(config).items() if name != "initial_state"}
    odd = sorted(set(wanted) ^ set(notes))
    if odd:
        raise DataError(f"{path} lacks or has beyond RecBLR's parameters: {', '.join(map(ascii, odd[:4]))}")
    weights = {}
    for name, shape in wanted.items():
        if (found := checkpoint.shape(name, notes[name])) != shape:
            raise DataError(f"{path}: {name} must have the shape {shape}, not {found}")
        weights[name] = checkpoint.array(name, notes[name])
    return weights


def padded_state(weights: Weights, config: ModelConfig, max_length: int) -> NDArray[np.float32]:
    """The state (L, K, H) that the published code has before a history's first item; float64 until the end."""
    steps = (1 << (max_length - 1).bit_length()) - max_length
    state = np.zeros(config.state_shape)
    for layer in range(config.layers):
        own = {
            name: weights[_LAYER.format(layer) + name].astype(np.float64)
            for name in ("conv1d.bias", "gates.weight", "gates.bias", "Lambda")
        }
        x = own["conv1d.bias"] * _sigmoid(own["conv1d.bias"])
        r, i = np.split(_sigmoid(own["gates.weight"] @ x + own["gates.bias"]), 2)
        a = np.exp(-np.logaddexp(0.0, own["Lambda"]) * r)
        step = np.sqrt(1.0 - a * a + 1e-8) * i * x
        for _ in range(steps):
            state[layer, -1] = a * state[layer, -1] + step
    return state.astype(np.float32)


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = np.exp(-np.logaddexp(0.0, -x))
    return result


def items_from_text(path: Path) -> list[Item]:
    """Items by row from a file of ids, one a line, row 1 first; a first line `[PAD]` is row 0's and passed over."""
    try:
        ids = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    return [Item(item_id) for item_id in ids[ids[:1] == [_PAD] :]]


def items_from_inter(path: Path, min_user_events: int, min_item_events: int) -> list[Item]:
    """Items by row, as RecBole numbers them from the atomic file `path`.

    Assumed: row 0 is `[PAD]`, then come the ids in order of first appearance in the file's lines, before any sorting
    but after lines without a user or an item have been dropped and then users and items of too few events (all of a
    round at once, again until nothing changes); with no `.item` file, value filter or removal of duplicates.
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
        raise DataError(f"{path} is not a RecBole .inter file: its header names no user_id and item_id") from None
