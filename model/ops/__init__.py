"""The recurrence, BD-LRU, as one operation with several implementations that compute the same function."""

from model.ops.gated_scan.dispatch import gated_scan

__all__ = ["gated_scan"]
