"""Kernels that check, unpack and pack batches of states.

States lie end to end in one array of words, seen both as float32 (`floats`) and as uint32 (`words`): state m is
words[starts[m] : starts[m + 1]]. `layout` holds the fields of model.state_layout.StateLayout as a plain tuple,
because numba takes a microsecond longer to recognise a named one.

Axes: M selected states, L layers, K conv taps, H channels, Hp channels padded as the engine's kernels need them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.engine.arrays import F32, I64, U32
from service.engine.jit import kernel

Layout = tuple[int, int, int, int, int, int, int]

_EXPONENT_BITS = np.uint32(0x7F800000)  # all set: infinite or NaN


@kernel
def check(words: U32, starts: I64, layout: Layout, items: int, valid: NDArray[np.bool_]) -> None:
    """Write which states are valid.

    A valid state is long enough and holds finite numbers and rows from 1 to `items`.
    """
    _, _, _, _, _, _, rows_start = layout
    for m in range(len(valid)):
        first_row = starts[m] + rows_start
        valid[m] = first_row <= starts[m + 1]
        if valid[m]:
            invalid_words = 0
            for word in words[starts[m] : first_row]:
                invalid_words += (word & _EXPONENT_BITS) == _EXPONENT_BITS
            for row in words[first_row : starts[m + 1]]:
                invalid_words += (row == 0) | (row > items)
            valid[m] = invalid_words == 0


@kernel
def unpack(
    floats: F32,
    words: U32,
    starts: I64,
    selected: I64,
    layout: Layout,
    initial_conv: F32,
    h: F32,
    conv: F32,
    recent: I64,
) -> None:
    """Write h, conv and recent rows of the selected states.

    h is (M, L, Hp), conv (M, L, K - 1, Hp), and recent holds the last K - 1 rows (M, K - 1).

    The first layer's conv inputs follow from these rows and are left for `recompute_conv_inputs`. Where a history has
    fewer items, they are those of `initial_conv` (K - 1, Hp), a history without items, and the row is -1.
    """
    _, H, layers, taps, h_start, conv_start, rows_start = layout
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
            else:
                recent[m, k] = -1
                conv[m, 0, k] = initial_conv[k + count]


@kernel
def plan(
    old_starts: I64, selected: I64, layout: Layout, max_rows: int, new_starts: I64, owners: I64, starts: I64
) -> None:
    """Write the owner of each new row, and each packed state's offset.

    owners is (N,), starts (M + 1,).
    """
    _, _, _, _, _, _, rows_start = layout
    starts[0] = 0
    for m in range(len(selected)):
        new = new_starts[m + 1] - new_starts[m]
        count = old_starts[selected[m] + 1] - old_starts[selected[m]] - rows_start
        starts[m + 1] = starts[m] + rows_start + min(count + new, max_rows)
        for n in range(new_starts[m], new_starts[m + 1]):
            owners[n] = m


@kernel
def pack(
    floats: F32,
    words: U32,
    starts: I64,
    old_words: U32,
    old_starts: I64,
    selected: I64,
    new_rows: I64,
    new_starts: I64,
    layout: Layout,
    h: F32,
    conv: F32,
    output: F32,
) -> None:
    """Write the packed states after a replay: the inverse of `unpack`.

    A state keeps as many of the latest rows as `plan` left room for: rows of the old state, then the new ones,
    new_rows[new_starts[m] : new_starts[m + 1]].
    """
    D, H, layers, taps, h_start, conv_start, rows_start = layout
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
        at = start + rows_start
        new = min(new_starts[m + 1] - new_starts[m], starts[m + 1] - at)
        old = starts[m + 1] - at - new
        end = old_starts[selected[m] + 1]
        words[at : at + old] = old_words[end - old : end]
        for n in range(new):
            words[at + old + n] = new_rows[new_starts[m + 1] - new + n]
