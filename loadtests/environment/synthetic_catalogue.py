"""Bundles of any catalogue size: a trained network with synthetic item embeddings."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.bundle.bundle import Bundle, Item, load_bundle, write_bundle
from model.content.content_encoder import ContentEncoder
from model.content.feature_keys import CATEGORY, feature_key
from model.content.feature_space import FeatureSpace

# Length of the noise for a direction of length 1: two items around one trained item have a cosine of about 0.7.
NOISE_LENGTH = 0.6
CATEGORIES = 500  # that an encoder knows
_ROWS_AT_ONCE = 1 << 18
_EMBEDDING = "item_embedding.weight"


def write_catalogue(
    folder: Path, trained_bundle: Path, items: int, seed: int, *, with_encoder: bool = False
) -> list[str]:
    """Write a bundle of synthetic items around those of a trained one.

    Uniformly random directions would defeat every index: real items form clusters (decision 0033).

    Args:
        folder: the bundle to write.
        trained_bundle: the bundle that lends its network, and its items as centres.
        items: number of items.
        seed: seed of the item vectors.
        with_encoder: whether the bundle has a content encoder, which knows CATEGORIES categories.

    Returns:
        The item ids, in the order of their rows.
    """
    source = load_bundle(trained_bundle)
    table = _item_table(source.weights[_EMBEDDING], items, np.random.default_rng(seed))
    ids = [f"item-{row}" for row in range(1, items + 1)]
    config = source.config.to_dict() | {"items": items}
    now = datetime.now(UTC)
    bundle = Bundle(
        version=f"{now:%Y%m%dT%H%M%SZ}-random-{items}",
        created=now.isoformat(timespec="seconds"),
        config=type(source.config).from_dict(config),
        weights={**source.weights, _EMBEDDING: table},
        items=[Item(item_id, max(1, items // row)) for row, item_id in enumerate(ids, start=1)],
        metrics={},
        training_data={"source": "synthetic embeddings for load tests", "like": source.version},
        content=_encoder(table) if with_encoder else None,
    )
    write_bundle(folder, bundle)
    return ids


def _encoder(table: NDArray[np.float32]) -> ContentEncoder:
    """Return an encoder with an item's vector for each category."""
    vectors = {feature_key(CATEGORY, "", f"c{n}").key: table[1 + n % (len(table) - 1)] for n in range(CATEGORIES)}
    keys = sorted(vectors)
    space = FeatureSpace({}, np.array(keys, np.uint64), [], np.zeros(0, np.float32), 1.0)
    weights = np.array([vectors[key] for key in keys], np.float32)
    return ContentEncoder(space, weights, np.zeros(table.shape[1], np.float32))


def _item_table(trained: NDArray[np.float32], items: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Return an embedding table (items + 1, D).

    Each row is the direction of a random trained item plus noise, with the norm of another random trained item,
    both relative to the trained mean. Row 0, the start token, is the trained one.
    """
    mean = trained[1:].mean(axis=0)
    norms = np.linalg.norm(trained[1:] - mean, axis=1)
    directions = (trained[1:] - mean) / norms[:, None]
    table = np.empty((items + 1, trained.shape[1]), np.float32)
    table[0] = trained[0]
    for first in range(1, items + 1, _ROWS_AT_ONCE):
        rows = table[first : first + _ROWS_AT_ONCE]
        random.standard_normal(dtype=np.float32, out=rows)
        rows *= np.float32(NOISE_LENGTH / np.sqrt(rows.shape[1]))
        rows += random.choice(directions, len(rows))
        rows *= (random.choice(norms, len(rows)) / np.linalg.norm(rows, axis=1)).astype(np.float32)[:, None]
        rows += mean
    return table
