"""Turns (state, items) into (state, scores). The only part of the service that knows the model."""

from service.engine.models import BundleModels, BundleRefused, DeviceRefused

__all__ = ["BundleModels", "BundleRefused", "DeviceRefused"]
