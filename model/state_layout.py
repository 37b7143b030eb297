"""A user's recurrent state as bytes: only what the recent items cannot tell.

Layer 0's conv inputs are a function of the last K - 1 items alone, so they are not stored: the items are (they
also say what the user has seen). What remains is, in float32 and in this order,

    output (D)              the network's output at the last item: scores are its products with the embeddings
    h      (L, H)           the recurrence of every layer
    conv   (L - 1, K - 1, H) the last conv inputs of the layers above the first, oldest first

followed by the rows of the most recent known items, oldest first, as uint32. With the defaults the float part is
256 + 1,024 + 1,536 = 2,816 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.config import ModelConfig

F32 = NDArray[np.float32]
Rows = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class PackedState:
    """One user's state. `output` (D,), `h` (L, H), `conv` (L - 1, K - 1, H) float32; `rows` (n,) uint32."""

    output: F32
    h: F32
    conv: F32
    rows: Rows


class StateLayout:
    """Packs and unpacks the states of one configuration."""

    def __init__(self, config: ModelConfig) -> None:
        self._config = config
        self._h = config.dim
        self._conv = self._h + config.layers * config.hidden
        self._end = self._conv + (config.layers - 1) * (config.conv_width - 1) * config.hidden

    @property
    def float_bytes(self) -> int:
        """Size of the float part in bytes."""
        return 4 * self._end

    def pack(self, state: PackedState) -> bytes:
        """The state as bytes."""
        return b"".join(
            part.astype(kind, copy=False).tobytes()
            for part, kind in (
                (state.output, "<f4"),
                (state.h, "<f4"),
                (state.conv, "<f4"),
                (state.rows, "<u4"),
            )
        )

    def unpack(self, data: bytes) -> PackedState:
        """The inverse of `pack`; the arrays are read-only views. Raises ValueError for what cannot be a state."""
        config = self._config
        if len(data) < self.float_bytes or len(data) % 4:
            raise ValueError(f"{len(data)} bytes cannot be a state of {self.float_bytes} bytes and rows")
        floats = np.frombuffer(data, "<f4", count=self._end)
        rows = np.frombuffer(data, "<u4", offset=self.float_bytes)
        if not np.isfinite(floats).all() or (rows.size and not 1 <= rows.min() <= rows.max() <= config.items):
            raise ValueError("the state holds numbers that no fold can give")
        return PackedState(
            output=floats[: self._h],
            h=floats[self._h : self._conv].reshape(config.layers, config.hidden),
            conv=floats[self._conv :].reshape(config.layers - 1, config.conv_width - 1, config.hidden),
            rows=rows,
        )
