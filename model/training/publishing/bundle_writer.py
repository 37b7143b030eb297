"""Write a trained network as a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from model.bundle.bundle import Bundle, Item, new_version, write_bundle
from model.bundle.signature import signing_key
from model.network import RecBLR
from model.training.data.interactions import Interactions


def publish(
    folder: Path, network: RecBLR, data: Interactions, metrics: Mapping[str, Any], extra: Mapping[str, Any]
) -> Bundle:
    """Write `network`, trained on `data`, as the bundle `folder`; `extra` joins the training-data summary."""
    now = datetime.now(UTC)
    weights = {name: value.detach().cpu().numpy().astype(np.float32) for name, value in network.state_dict().items()}
    popularity = data.popularity()
    items = [Item(item_id, int(popularity[row])) for row, item_id in enumerate(data.item_ids, start=1)]
    bundle = Bundle(
        version=new_version(weights, now),
        created=now.isoformat(timespec="seconds"),
        config=network.config,
        weights=weights,
        items=items,
        metrics=dict(metrics),
        training_data=data.summary() | dict(extra),
    )
    write_bundle(folder, bundle, signing_key())
    return bundle
