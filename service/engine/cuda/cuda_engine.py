"""CUDA engine: the network and the catalogue in PyTorch on a GPU."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from model.bundle.bundle import Bundle
from model.network import RecBLR
from service.core.engine_requests import EngineRequest
from service.engine.cuda.cuda_recurrence import CudaRecurrence
from service.engine.cuda.cuda_search import CudaSearch
from service.engine.engine import BundleEngine


class CudaEngine(BundleEngine):
    """A loaded model on `device`; see core.ports.Engine, and `CpuEngine` for `seen_limit`."""

    def __init__(self, bundle: Bundle, seen_limit: int, device: str = "cuda") -> None:
        self.network = _network(bundle, torch.device(device))
        recurrence = CudaRecurrence(self.network, max(seen_limit, bundle.config.conv_width - 1))
        super().__init__(bundle, recurrence, CudaSearch(self.network.item_embedding.weight.detach()))

    def cost(self, requests: Sequence[EngineRequest]) -> float:
        """Always run in the engine thread, because GPU calls block."""
        return math.inf if requests else 0.0


def missing() -> str | None:
    """Return why PyTorch cannot use a GPU, or None."""
    if torch.version.cuda is None:
        return f"PyTorch {torch.__version__} is built for CPUs: install one that is built for CUDA"
    if not torch.cuda.is_available():
        return "PyTorch finds no CUDA device: see that nvidia-smi lists one and that this process may use it"
    return None


def _network(bundle: Bundle, device: torch.device) -> RecBLR:
    """Return the bundle's network on the device, in evaluation mode."""
    with torch.device("meta"):  # no initialisation, because the weights are assigned below
        network = RecBLR(bundle.config)
    weights = {name: torch.tensor(array, device=device) for name, array in bundle.weights.items()}
    network.load_state_dict(weights, assign=True)
    return network.eval().requires_grad_(False)
