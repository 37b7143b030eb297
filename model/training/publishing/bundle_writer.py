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
from model.training.content.encoder_fit import TrainedContent
from model.training.data.interactions import Interactions


def write_network_bundle(
    folder: Path,
    network: RecBLR,
    data: Interactions,
    metrics: Mapping[str, Any],
    origin: Mapping[str, Any],
    content: TrainedContent | None = None,
) -> Bundle:
    """Write a network as a bundle, signed if there is a key.

    Args:
        folder: folder of the bundle; it must not exist.
        network: the trained network.
        data: interactions that the network was trained on; they give the items and their popularity.
        metrics: metrics for the manifest.
        origin: how the network was trained; added to the summary of the data in the manifest.
        content: content of the items, and the encoder fitted to it.

    Raises:
        BundleError: the folder exists.
    """
    now = datetime.now(UTC)
    weights = {name: value.detach().cpu().numpy().astype(np.float32) for name, value in network.state_dict().items()}
    popularity = data.popularity()
    encoder = None if content is None else content.fitted.encoder
    bundle = Bundle(
        version=new_version(weights, now, encoder),
        created=now.isoformat(timespec="seconds"),
        config=network.config,
        weights=weights,
        items=[Item(item_id, int(popularity[row])) for row, item_id in enumerate(data.item_ids, start=1)],
        metrics=dict(metrics),
        training_data=data.summary() | dict(origin) | ({} if content is None else {"content": content.fitted.facts}),
        content=encoder,
        event_types=None if data.types is None else data.types.rules,
    )
    write_bundle(folder, bundle, signing_key())
    return bundle
