"""Layout of a packed user state.

This is the only description of its parts, their order and their shapes.
`service/core/recommending/log_replay/snapshots.py` wraps these bytes with a checksum for the store.

A state is a sequence of 4-byte little-endian words:

    output  (D,)              float32  the network's output after the last item; scores are products with embeddings
    h       (L, H)            float32  the recurrence of every layer
    conv    (L - 1, K - 1, H) float32  the last conv inputs of the layers above the first, oldest first
    types   (K - 1,)          uint32   types of the last events, oldest first, 0 before the first event;
                                       only in the states of a model with types
    rows    (n,)              uint32   embedding rows of the most recent known items, oldest first

The first layer's conv inputs are not stored, because they follow from the last K - 1 rows and types. The rows are
stored for `exclude_seen` as well. The float part has 2,816 bytes at the default configuration.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from model.compiled.array_types import F32
from model.config import ModelConfig

WORD_BYTES = 4


class StateLayout(NamedTuple):
    """Shapes and offsets of the parts, in words.

    `output` begins at 0.
    """

    dim: int
    hidden: int
    layers: int
    conv_inputs: int
    h_start: int
    conv_start: int
    types_start: int
    rows_start: int

    @classmethod
    def of(cls, config: ModelConfig) -> StateLayout:
        """Return the layout of one configuration's states."""
        conv_inputs = config.conv_width - 1
        h_start = config.dim
        conv_start = h_start + config.layers * config.hidden
        types_start = conv_start + (config.layers - 1) * conv_inputs * config.hidden
        rows_start = types_start + (conv_inputs if config.event_types else 0)
        return cls(
            config.dim, config.hidden, config.layers, conv_inputs, h_start, conv_start, types_start, rows_start
        )

    @property
    def float_bytes(self) -> int:
        """Size of a state without items."""
        return WORD_BYTES * self.rows_start

    def output(self, state: bytes) -> F32:
        """Return the network's output (D,) of a state, as a view."""
        return np.frombuffer(state, "<f4", self.dim)
