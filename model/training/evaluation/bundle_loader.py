"""Load the network of a bundle, to evaluate it."""

from __future__ import annotations

from pathlib import Path

import torch

from model.bundle.bundle import Bundle, load_bundle
from model.bundle.signature import signing_key
from model.network import RecBLR


def load_network(folder: Path, device: torch.device) -> tuple[RecBLR, Bundle]:
    """Load a bundle and its network, in evaluation mode.

    Raises `BundleError` if the bundle is damaged, or not signed although there is a key.
    """
    bundle = load_bundle(folder, signing_key())
    network = RecBLR(bundle.config)
    network.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in bundle.weights.items()})
    return network.to(device).eval(), bundle
