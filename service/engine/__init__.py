"""Turns (state, items) into (state, scores). The only part of the service that knows the model; no torch here."""

from service.engine.models import BundleModels, BundleRefused

__all__ = ["BundleModels", "BundleRefused"]
