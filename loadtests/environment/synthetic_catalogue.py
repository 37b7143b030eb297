"""Bundles of any size, made on the fly: a trained network with random embeddings of realistic norms."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from model.bundle.bundle import Bundle, Item, load_bundle, write_bundle

# The noise's length, of a direction of length 1: two items beside the same trained one have a cosine of about 0.7.
NOISE = 0.6


def write_catalogue(folder: Path, like: Path, items: int, seed: int) -> list[str]:
    """Write the bundle `folder` with the network of `like` and `items` random items; their ids.

    Each item stands beside a trained one, drawn at random: its direction from the mean of all, with noise of NOISE
    times its length added, and a norm drawn from the trained ones. Uniform directions would be no catalogue: items of
    a kind lie together, and where nothing does, no index finds neighbours faster than a pass over all. Row 0, the
    start token, stays.
    """
    source = load_bundle(like)
    random = np.random.default_rng(seed)
    trained = source.weights["item_embedding.weight"]
    middle = trained[1:].mean(axis=0)
    norms = np.linalg.norm(trained[1:] - middle, axis=1)
    directions = (trained[1:] - middle) / norms[:, None]
    table = np.empty((items + 1, trained.shape[1]), np.float32)
    table[0] = trained[0]
    for low in range(1, items + 1, 1 << 18):
        rows = table[low : low + (1 << 18)]
        random.standard_normal(dtype=np.float32, out=rows)
        rows *= np.float32(NOISE / np.sqrt(rows.shape[1]))
        rows += random.choice(directions, len(rows))
        rows *= (random.choice(norms, len(rows)) / np.linalg.norm(rows, axis=1)).astype(np.float32)[:, None]
        rows += middle
    ids = [f"item-{row}" for row in range(1, items + 1)]
    config = source.config.to_dict() | {"items": items}
    now = datetime.now(UTC)
    bundle = Bundle(
        version=f"{now:%Y%m%dT%H%M%SZ}-random-{items}",
        created=now.isoformat(timespec="seconds"),
        config=type(source.config).from_dict(config),
        weights={**source.weights, "item_embedding.weight": table},
        items=[Item(item_id, max(1, items // row)) for row, item_id in enumerate(ids, start=1)],
        metrics={},
        training_data={"source": "random embeddings for load tests", "like": source.version},
    )
    write_bundle(folder, bundle)
    return ids
