"""Turns (state, items) into (state, scores). The only part of the service that knows the model."""

from service.engine.loader import BundleLoader, DeviceRefusedError

__all__ = ["BundleLoader", "DeviceRefusedError"]
