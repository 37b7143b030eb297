"""Turns (state, items) into (state, scores). The only part of the service that knows the model."""

from service.engine.batch_runner import run_similar, run_turns
from service.engine.loader import BundleFolder, DeviceRefused

__all__ = ["BundleFolder", "DeviceRefused", "run_similar", "run_turns"]
