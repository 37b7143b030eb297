"""Conversion between packed states (model.state_layout) and the arrays of the recurrence."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.config import ModelConfig
from model.state_layout import WORD_BYTES, StateLayout
from service.engine import state_codec_kernels as kernels
from service.engine.arrays import F32, I64, U32


class StateBatch(NamedTuple):
    """Packed states end to end.

    State m is words[starts[m] : starts[m + 1]].
    """

    words: U32
    starts: I64

    @property
    def floats(self) -> F32:
        """The same words as float32."""
        return self.words.view(np.float32)


def join_states(states: Sequence[bytes]) -> StateBatch:
    """Return a batch of states, each of whole words."""
    starts = np.array([0, *accumulate([len(state) // WORD_BYTES for state in states])])
    # A writable copy: numba has another type for read-only arrays.
    return StateBatch(np.frombuffer(bytearray(b"".join(states)), np.uint32), starts)


class StateCodec:
    """Unpacks states of one model into arrays, and packs them again."""

    def __init__(self, config: ModelConfig, channels: int, max_rows: int) -> None:
        """Prepare for one model.

        channels is the padded width Hp of the arrays, max_rows the number of rows that a state keeps.
        """
        self.layout = StateLayout.of(config)
        self._words = self.layout[:]  # a plain tuple; see `state_codec_kernels`
        self._items, self._channels, self._max_rows = config.items, channels, max_rows

    def valid(self, states: StateBatch) -> NDArray[np.bool_]:
        """Return which states can be results of a replay."""
        valid = np.empty(len(states.starts) - 1, np.bool_)
        kernels.check(states.words, states.starts, self._words, self._items, valid)
        return valid

    def unpack(self, states: StateBatch, selected: I64, initial_conv: F32) -> tuple[F32, F32, I64]:
        """Return h, conv and recent rows of some states.

        The caller recomputes the first layer's conv inputs.
        """
        layout = self.layout
        h = np.zeros((len(selected), layout.layers, self._channels), np.float32)
        conv = np.zeros((len(selected), layout.layers, layout.conv_inputs, self._channels), np.float32)
        recent = np.empty((len(selected), layout.conv_inputs), np.int64)
        kernels.unpack(
            states.floats, states.words, states.starts, selected, self._words, initial_conv, h, conv, recent
        )
        return h, conv, recent

    def plan(self, states: StateBatch, selected: I64, new_starts: I64) -> tuple[I64, I64]:
        """Return the owner of each new row, and each new state's offset.

        new_starts (M + 1,) says where the new rows of each selected state begin.
        """
        owners, starts = np.empty(int(new_starts[-1]), np.int64), np.empty_like(new_starts)
        kernels.plan(states.starts, selected, self._words, self._max_rows, new_starts, owners, starts)
        return owners, starts

    def pack(
        self,
        states: StateBatch,
        selected: I64,
        new_rows: I64,
        new_starts: I64,
        starts: I64,
        h: F32,
        conv: F32,
        output: F32,
    ) -> list[bytes]:
        """Return the selected states after their new rows; `starts` is from `plan`."""
        after = StateBatch(np.empty(int(starts[-1]), np.uint32), starts)
        kernels.pack(
            after.floats,
            *after,
            *states,
            selected,
            new_rows,
            new_starts,
            self._words,
            h,
            conv,
            output,
        )
        data, ends = after.words.tobytes(), (starts * WORD_BYTES).tolist()
        return [data[start:end] for start, end in pairwise(ends)]

    def pack_initial(self, h: F32, conv: F32, output: F32) -> bytes:
        """Return the state of a history without items.

        The arrays hold one user.
        """
        no_rows, first = np.empty(0, np.int64), np.zeros(1, np.int64)
        starts = np.array([0, self.layout.rows_start])
        (state,) = self.pack(join_states([b""]), first, no_rows, np.zeros(2, np.int64), starts, h, conv, output)
        return state
