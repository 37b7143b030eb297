"""Models with a content encoder, for the tests of new items."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from model.bundle.bundle import Bundle, Item, load_bundle, write_bundle
from model.content.content_encoder import ContentEncoder
from model.content.feature_keys import CATEGORY, feature_key
from model.content.feature_space import FeatureSpace
from service.demo import BUNDLE

TRIPS = ("camping", "hiking", "climbing", "cycling", "winter", "water", "running", "fishing")
KNOWN_LATER = tuple(f"new-{trip}" for trip in TRIPS)  # items that only the second model was trained with
ITEMS = "item_embedding.weight"


def shop_bundle(version: str, created: str, new_items: tuple[str, ...] = ()) -> Bundle:
    """Return the demo's model with an encoder.

    The vector of a trip's item is like that of its first one, but longer.
    """
    bundle = load_bundle(BUNDLE)
    rows = {item.item_id: row for row, item in enumerate(bundle.items, start=1)}
    table = bundle.weights[ITEMS]
    like_first = {trip: 1.5 * table[rows[f"{trip}-1"]] for trip in TRIPS}
    keys = {feature_key(CATEGORY, "", trip).key: vector for trip, vector in like_first.items()}
    order = sorted(keys)
    space = FeatureSpace({}, np.array(order, np.uint64), [], np.zeros(0, np.float32), 1.0)
    weights = np.array([keys[key] for key in order], np.float32)
    content = ContentEncoder(space, weights, np.zeros(bundle.config.dim, np.float32))
    added = [like_first[item_id.removeprefix("new-")] for item_id in new_items]
    items = (*bundle.items, *(Item(item_id) for item_id in new_items))
    return replace(
        bundle,
        version=version,
        created=created,
        items=items,
        config=replace(bundle.config, items=len(items)),
        weights=bundle.weights | {ITEMS: np.concatenate([table, *(vector[None] for vector in added)])},
        content=content,
    )


def write_models(folder: Path) -> tuple[str, str]:
    """Write both models into a registry; return their versions."""
    versions = "20990101T000000Z-00000001", "20990102T000000Z-00000002"
    write_bundle(folder / versions[0], shop_bundle(versions[0], "2099-01-01T00:00:00+00:00"))
    write_bundle(folder / versions[1], shop_bundle(versions[1], "2099-01-02T00:00:00+00:00", KNOWN_LATER))
    return versions


def write_first_model(folder: Path) -> str:
    """Write the model that does not know the new items."""
    version = "20990101T000000Z-00000001"
    write_bundle(folder / version, shop_bundle(version, "2099-01-01T00:00:00+00:00"))
    return version
