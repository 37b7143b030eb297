"""Engine: replays items onto states and scores items.

The only part of the service that imports the model. Two modules elsewhere take one thing each: live accuracy the
ranking metrics, and `setting_types` the pattern of the signing key.
"""

from service.engine.loader import BundleLoader, DeviceRefusedError

__all__ = ["BundleLoader", "DeviceRefusedError"]
