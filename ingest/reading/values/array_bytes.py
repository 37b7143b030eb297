"""Look at the bytes of all strings of a column at once."""

from __future__ import annotations

import pyarrow as pa


def holds_bytes(texts: pa.StringArray, wanted: bytes) -> bool:
    """Return whether one of these bytes may occur in a value.

    False is certain. It is much faster than an expression for each value.
    """
    data = texts.buffers()[2]
    return data is not None and data.size != len(data.to_pybytes().translate(None, wanted))
