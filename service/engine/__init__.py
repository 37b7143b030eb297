"""Turns (state, items) into (state, scores). The only part of the service that knows the model."""

from service.engine.batches import run_similar, run_turns
from service.engine.bundles import BundleFolder, DeviceRefused

__all__ = ["BundleFolder", "DeviceRefused", "run_similar", "run_turns"]
