"""Batches of packed states (model.state_layout) in and out of arrays: what the engines' folds have in common."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.config import ModelConfig
from model.state_layout import F32, StateLayout
from service.engine import state_codec_kernels
from service.engine.state_codec_kernels import Index, Words


class Batch(NamedTuple):
    """Packed states end to end; see `packing`."""

    words: Words
    starts: Index

    @property
    def numbers(self) -> F32:
        """The same words as float32."""
        return self.words.view(np.float32)


def join(states: Sequence[bytes]) -> Batch:
    """States, each of whole words, as one batch."""
    starts = np.array([0, *accumulate(len(state) >> 2 for state in states)])
    # A copy in memory of one's own: what is read-only has another type for the kernels.
    return Batch(np.frombuffer(bytearray(b"".join(states)), np.uint32), starts)


class StateCodec:
    """Packed states of one model to arrays and back; see `packing` for these and for `widths`.

    `kept`: how many rows a state remembers at most.
    """

    def __init__(self, config: ModelConfig, widths: tuple[int, int, int, int, int, int], kept: int) -> None:
        self._widths, self._kept = widths, kept
        self._items, self._layers, self._taps = config.items, config.layers, config.conv_width - 1
        self.floats = StateLayout(config).float_bytes // 4

    def sound(self, states: Batch) -> NDArray[np.bool_]:
        """Which states can have come from a fold."""
        sound = np.empty(len(states.starts) - 1, np.bool_)
        state_codec_kernels.check(states.words, states.starts, self.floats, self._items, sound)
        return sound

    def unpack(self, states: Batch, which: Index, begin: F32) -> tuple[F32, F32, Index]:
        """h, conv and recent rows of some states; what is not packed of conv is for the caller to compute."""
        channels = self._widths[4]
        h = np.zeros((len(which), self._layers, channels), np.float32)
        conv = np.zeros((len(which), self._layers, self._taps, channels), np.float32)
        recent = np.empty((len(which), self._taps), np.int64)
        state_codec_kernels.unpack(
            states.numbers, states.words, states.starts, which, begin, self._widths, h, conv, recent
        )
        return h, conv, recent

    def plan(self, states: Batch, which: Index, new_starts: Index) -> tuple[Index, Index]:
        """Whose each new row is, and where the new states begin."""
        owners, starts = np.empty(int(new_starts[-1]), np.int64), np.empty_like(new_starts)
        state_codec_kernels.plan(states.starts, which, self.floats, self._kept, new_starts, owners, starts)
        return owners, starts

    def pack(
        self,
        states: Batch,
        which: Index,
        new_rows: Index,
        new_starts: Index,
        starts: Index,
        h: F32,
        conv: F32,
        output: F32,
    ) -> list[bytes]:
        """The states after a fold of the new rows; `starts` from `plan`."""
        after = Batch(np.empty(int(starts[-1]), np.uint32), starts)
        state_codec_kernels.pack(
            after.numbers,
            after.words,
            after.starts,
            states.words,
            states.starts,
            which,
            new_rows,
            new_starts,
            self._widths,
            h,
            conv,
            output,
        )
        data, ends = after.words.tobytes(), (starts * 4).tolist()
        return [data[start:end] for start, end in pairwise(ends)]

    def pack_new(self, h: F32, conv: F32, output: F32) -> bytes:
        """The state of a history without items; arguments for one user."""
        nothing, nobody = np.empty(0, np.int64), np.zeros(1, np.int64)
        starts = np.array([0, self.floats])
        (state,) = self.pack(join([b""]), nobody, nothing, np.zeros(2, np.int64), starts, h, conv, output)
        return state
