"""Recognition of failed allocations."""

from __future__ import annotations

_OUT_OF_MEMORY_TEXTS = ("out of memory", "can't allocate memory", "ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an allocation failed.

    Python and NumPy raise `MemoryError`, torch a `RuntimeError` whose text depends on the device.
    """
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(text in str(error) for text in _OUT_OF_MEMORY_TEXTS)
    )
