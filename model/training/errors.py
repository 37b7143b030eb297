"""What can be wrong with the inputs of a training job."""

from __future__ import annotations


class DataError(Exception):
    """The data or the run cannot be used as asked; the message names the file and says what to do."""


def out_of_memory(error: BaseException) -> bool:
    """Whether an allocation has failed: Python and NumPy, torch on a GPU and torch on a CPU say it differently."""
    said = ("out of memory", "can't allocate memory", "ALLOC_FAILED")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in said)
    )
