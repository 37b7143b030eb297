"""Packed states (model.state_layout) to the kernels' arrays and back, a whole batch at a time.

A batch's states stand end to end in one array of 4-byte words, seen both as float32 (`numbers`) and as uint32
(`words`): state m is words[starts[m] : starts[m + 1]], its first `floats` words the numbers and the rest its rows.
Axes as in `fold`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.state_layout import F32
from service.engine.jit import kernel

Words = NDArray[np.uint32]
Index = NDArray[np.int64]

_EXPONENT = np.uint32(0x7F800000)  # all ones: not a finite number


@kernel
def check(words: Words, starts: Index, floats: int, items: int, sound: NDArray[np.bool_]) -> None:
    """Which states are long enough, of finite numbers, and of rows from 1 to `items`."""
    for m in range(len(sound)):
        sound[m] = starts[m + 1] - starts[m] >= floats
        if sound[m]:
            odd = 0
            for word in words[starts[m] : starts[m] + floats]:
                odd += (word & _EXPONENT) == _EXPONENT
            for row in words[starts[m] + floats : starts[m + 1]]:
                odd += (row == 0) | (row > items)
            sound[m] = odd == 0


@kernel
def unpack(
    numbers: F32,
    words: Words,
    starts: Index,
    picked: Index,
    begin: F32,
    widths: tuple[int, int, int, int, int, int],
    h: F32,
    conv: F32,
    recent: Index,
) -> None:
    """The picked states: h (M, L, Hp), conv (M, L, K - 1, Hp) and the rows of their last K - 1 items (M, K - 1).

    The first layer's conv inputs follow from these rows and are not here (`fold.replay`), but where a history is
    shorter they are those of `begin` (K - 1, Hp), a history without items, and the row is -1.
    """
    D, H, K, _, _, _ = widths
    layers = h.shape[1]
    floats = D + layers * H + (layers - 1) * (K - 1) * H
    for m in range(len(picked)):
        at = starts[picked[m]] + D
        for layer in range(layers):
            h[m, layer, :H] = numbers[at : at + H]
            at += H
        for layer in range(1, layers):
            for k in range(K - 1):
                conv[m, layer, k, :H] = numbers[at : at + H]
                at += H
        end = starts[picked[m] + 1]
        known = end - starts[picked[m]] - floats
        for k in range(K - 1):
            back = K - 1 - k
            if back <= known:
                recent[m, k] = words[end - back]
            else:
                recent[m, k] = -1
                conv[m, 0, k] = begin[k + known]


@kernel
def plan(
    old_starts: Index, picked: Index, floats: int, kept: int, new_starts: Index, owners: Index, starts: Index
) -> None:
    """Whose each new row is, owners (N,), and where the states begin that remember it, starts (M + 1,)."""
    starts[0] = 0
    for m in range(len(picked)):
        new = new_starts[m + 1] - new_starts[m]
        known = old_starts[picked[m] + 1] - old_starts[picked[m]] - floats
        starts[m + 1] = starts[m] + floats + min(known + new, kept)
        for n in range(new_starts[m], new_starts[m + 1]):
            owners[n] = m


@kernel
def pack(
    numbers: F32,
    words: Words,
    starts: Index,
    old_words: Words,
    old_starts: Index,
    picked: Index,
    new_rows: Index,
    new_starts: Index,
    widths: tuple[int, int, int, int, int, int],
    h: F32,
    conv: F32,
    output: F32,
) -> None:
    """The inverse of `unpack` after a fold: numbers/words/starts receive it; as many of the last rows as there is
    room for, the new ones (new_rows[new_starts[m] : new_starts[m + 1]]) after those of the old state.
    """
    D, H, K, _, _, _ = widths
    layers = h.shape[1]
    for m in range(len(picked)):
        at = starts[m]
        numbers[at : at + D] = output[m, :D]
        at += D
        for layer in range(layers):
            numbers[at : at + H] = h[m, layer, :H]
            at += H
        for layer in range(1, layers):
            for k in range(K - 1):
                numbers[at : at + H] = conv[m, layer, k, :H]
                at += H
        new = min(new_starts[m + 1] - new_starts[m], starts[m + 1] - at)
        old = starts[m + 1] - at - new
        end = old_starts[picked[m] + 1]
        words[at : at + old] = old_words[end - old : end]
        for n in range(new):
            words[at + old + n] = new_rows[new_starts[m + 1] - new + n]
