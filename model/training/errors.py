"""What can be wrong with the inputs of a training job."""

from __future__ import annotations


class DataError(Exception):
    """The data or the run cannot be used as asked; the message names the file and says what to do."""
