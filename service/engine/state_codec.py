"""Conversion between packed states (model.state_layout) and the arrays of the recurrence.

An event is a code here: its row, with its type above the lower 32 bits. Type 0 is the default, so the codes of a
model without types are rows.

Axes: M selected states, L layers, K conv taps, H channels, Hp channels padded as the engine's kernels need them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.compiled.array_types import F32, I64, U32
from model.compiled.jit import kernel
from model.config import ModelConfig
from model.state_layout import WORD_BYTES, StateLayout

# The fields of `StateLayout` as a plain tuple: numba takes a microsecond longer to recognise a named one.
Layout = tuple[int, int, int, int, int, int, int, int]

TYPE_BITS = 32  # shift of the type in an event's code
ROW_MASK = (1 << TYPE_BITS) - 1

_EXPONENT_BITS = np.uint32(0x7F800000)  # all set: infinite or NaN


class StateBatch(NamedTuple):
    """Packed states end to end.

    State m is words[starts[m] : starts[m + 1]].
    """

    words: U32
    starts: I64


def join_states(states: Sequence[bytes]) -> StateBatch:
    """Return a batch of states, each of whole words."""
    starts = np.array([0, *accumulate([len(state) // WORD_BYTES for state in states])])
    # A writable copy: numba has another type for read-only arrays.
    return StateBatch(np.frombuffer(bytearray(b"".join(states)), np.uint32), starts)


def split_states(words: U32, starts: I64) -> list[bytes]:
    """Return the states of a batch: the inverse of `join_states`."""
    data = words.tobytes()
    return [data[start:end] for start, end in pairwise((starts * WORD_BYTES).tolist())]


class StateCodec:
    """Unpacks states of one model into arrays, and packs them again."""

    def __init__(self, config: ModelConfig, channels: int, max_rows: int) -> None:
        """Prepare for one model.

        channels is the padded width Hp of the arrays, max_rows the number of rows that a state keeps.
        """
        self.layout = StateLayout.of(config)
        self.layout_words: Layout = self.layout[:]
        self.max_rows = max_rows
        self._types, self._channels = config.event_types, channels

    def valid(self, states: StateBatch, last_row: int) -> NDArray[np.bool_]:
        """Return which states can be results of a replay.

        Rows are 1 to `last_row`.
        """
        return check_states(*states, self.layout_words, last_row, self._types)

    def unpack(self, states: StateBatch, selected: I64, initial_conv: F32) -> tuple[F32, F32, I64]:
        """Return h, conv and recent events of some states; see `unpack_states`."""
        return unpack_states(*states, selected, self.layout_words, self._channels, initial_conv)

    def pack(
        self, states: StateBatch, selected: I64, events: I64, new_starts: I64, h: F32, conv: F32, output: F32
    ) -> list[bytes]:
        """Return the selected states after their new events; see `pack_states`."""
        layout, max_rows = self.layout_words, self.max_rows
        return split_states(*pack_states(*states, selected, events, new_starts, layout, max_rows, h, conv, output))

    def pack_initial(self, h: F32, conv: F32, output: F32) -> bytes:
        """Return the state of a history without items.

        The arrays hold one user.
        """
        floats = self.layout.rows_start
        before = StateBatch(np.zeros(floats, np.uint32), np.array([0, floats]))  # a state without rows
        no_rows, first = np.empty(0, np.int64), np.zeros(1, np.int64)
        (state,) = self.pack(before, first, no_rows, np.zeros(2, np.int64), h, conv, output)
        return state


@kernel
def check_states(words: U32, starts: I64, layout: Layout, items: int, types: int) -> NDArray[np.bool_]:
    """Return which states are valid.

    A valid state is long enough and holds finite numbers, types below `types` and rows from 1 to `items`.
    """
    _, _, _, _, _, _, types_start, rows_start = layout
    valid = np.empty(len(starts) - 1, np.bool_)
    for m in range(len(valid)):
        first_row = starts[m] + rows_start
        valid[m] = first_row <= starts[m + 1]
        if valid[m]:
            invalid_words = 0
            for word in words[starts[m] : first_row]:
                invalid_words += (word & _EXPONENT_BITS) == _EXPONENT_BITS
            for event_type in words[starts[m] + types_start : first_row]:
                invalid_words += event_type >= types
            for row in words[first_row : starts[m + 1]]:
                invalid_words += (row == 0) | (row > items)
            valid[m] = invalid_words == 0
    return valid


@kernel
def unpack_states(
    words: U32, starts: I64, selected: I64, layout: Layout, channels: int, initial_conv: F32
) -> tuple[F32, F32, I64]:
    """Return h, conv and recent events of the selected states.

    h is (M, L, Hp), conv (M, L, K - 1, Hp), and recent holds the codes of the last K - 1 events (M, K - 1). Hp is
    `channels`.

    The first layer's conv inputs follow from these events and are left for `recompute_conv_inputs`. Where a history
    has fewer, they are those of `initial_conv` (K - 1, Hp), a history without items, and the code is -1.
    """
    _, H, layers, taps, h_start, conv_start, types_start, rows_start = layout
    floats = words.view(np.float32)
    h = np.zeros((len(selected), layers, channels), np.float32)
    conv = np.zeros((len(selected), layers, taps, channels), np.float32)
    recent = np.empty((len(selected), taps), np.int64)
    for m in range(len(selected)):
        start, end = starts[selected[m]], starts[selected[m] + 1]
        at = start + h_start
        for layer in range(layers):
            h[m, layer, :H] = floats[at : at + H]
            at += H
        at = start + conv_start
        for layer in range(1, layers):
            for k in range(taps):
                conv[m, layer, k, :H] = floats[at : at + H]
                at += H
        count = end - start - rows_start
        for k in range(taps):
            back = taps - k
            if back <= count:
                recent[m, k] = words[end - back]
                if types_start < rows_start:
                    recent[m, k] |= np.int64(words[start + types_start + k]) << TYPE_BITS
            else:
                recent[m, k] = -1
                conv[m, 0, k] = initial_conv[k + count]
    return h, conv, recent


@kernel
def pack_states(
    old_words: U32,
    old_starts: I64,
    selected: I64,
    events: I64,
    new_starts: I64,
    layout: Layout,
    max_rows: int,
    h: F32,
    conv: F32,
    output: F32,
) -> tuple[U32, I64]:
    """Return states after a replay: the inverse of `unpack_states`.

    The result is the fields of a `StateBatch`.

    A state keeps the latest `max_rows` rows: rows of the old state, then those of the new events,
    events[new_starts[m] : new_starts[m + 1]].
    """
    D, H, layers, taps, h_start, conv_start, types_start, rows_start = layout
    starts = np.zeros(len(selected) + 1, np.int64)
    for m in range(len(selected)):
        old = old_starts[selected[m] + 1] - old_starts[selected[m]] - rows_start
        starts[m + 1] = starts[m] + rows_start + min(old + new_starts[m + 1] - new_starts[m], max_rows)
    words = np.empty(starts[-1], np.uint32)
    floats = words.view(np.float32)
    for m in range(len(selected)):
        start = starts[m]
        floats[start : start + D] = output[m, :D]
        at = start + h_start
        for layer in range(layers):
            floats[at : at + H] = h[m, layer, :H]
            at += H
        at = start + conv_start
        for layer in range(1, layers):
            for k in range(taps):
                floats[at : at + H] = conv[m, layer, k, :H]
                at += H
        for k in range(rows_start - types_start):
            back = new_starts[m + 1] - taps + k
            if back >= new_starts[m]:
                words[start + types_start + k] = events[back] >> TYPE_BITS
            else:
                earlier = k + new_starts[m + 1] - new_starts[m]
                words[start + types_start + k] = old_words[old_starts[selected[m]] + types_start + earlier]
        at = start + rows_start
        new = min(new_starts[m + 1] - new_starts[m], starts[m + 1] - at)
        old = starts[m + 1] - at - new
        end = old_starts[selected[m] + 1]
        words[at : at + old] = old_words[end - old : end]
        for n in range(new):
            words[at + old + n] = events[new_starts[m + 1] - new + n] & ROW_MASK
    return words, starts
