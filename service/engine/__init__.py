"""Engine: replays items onto states and scores items.

The only part of the service that imports the model.
"""

from service.engine.loader import BundleLoader, DeviceRefusedError

__all__ = ["BundleLoader", "DeviceRefusedError"]
