"""Embedding table on the device, and its float16 copy with error bounds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition
from typing import NamedTuple

import torch
from torch import Tensor

from service.engine.appended_items import AppendedItems

GROUP = 32  # consecutive rows, one word of a bitmap
_ROWS_AT_ONCE = 1 << 22
_EPSILON = 2.0**-23  # of float32
_HALF = 2.0**-11  # relative rounding of float16


class ItemTable:
    """Vectors of trained items, and room for those of appended ones.

    CUDA graphs read it, so its place in memory is fixed. Rows of appended items are written before a batch can name
    them.

    Attributes:
        whole: (V + 1 + room, D) float32.
        trained: (V + 1, D) its first rows; row 0 is not an item.
        per_norm: (V + 1 + room,) one over the length of each vector.
        longest: The largest length of a vector.
    """

    def __init__(self, weights: Tensor, room: int = 0) -> None:
        rows, D = weights.shape
        self.whole = weights
        if room:
            self.whole = torch.zeros(rows + room, D, device=weights.device)  # a CPU holds no memory for zeros
            self.whole[:rows] = weights
        self.trained = self.whole[:rows]
        norms, tiny = weights.norm(dim=1), torch.finfo(torch.float32).tiny
        self.per_norm = torch.zeros(rows + room, device=weights.device)
        self.per_norm[:rows] = 1 / norms.clamp(min=tiny)
        self.longest = float(norms.max())

    def write(self, appended: AppendedItems, start: int) -> None:
        """Copy the vectors of appended items, from the `start`-th on."""
        first, device = appended.first + start, self.whole.device
        vectors = torch.from_numpy(appended.vectors[start:].copy()).to(device)
        norms = torch.from_numpy(appended.inverse_norms[start:].copy()).to(device)
        self.longest = max(self.longest, float(vectors.norm(dim=1).max()))
        self.whole[first : first + len(vectors)] = vectors
        self.per_norm[first : first + len(vectors)] = norms


class SharedUse:
    """Lets batches run beside each other, and changes between them."""

    def __init__(self) -> None:
        self._running, self._changed = 0, Condition()

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Run a batch."""
        with self._changed:
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait for the running batches, and hold up others."""
        with self._changed:
            self._changed.wait_for(lambda: not self._running)
            yield


class HalfTable(NamedTuple):
    """A table scaled by a power of two and rounded to float16.

    halves   (rows, width): row 0 repeats row 1, and rows beyond the table repeat the last one, so that they change no
             group's best score
    blurs    (rows / 32,) error of a group's scores, for a query of norm one
    longest  the largest norm of a row, not scaled
    tiny     how much underflow may change a float32 score, times the scale
    """

    halves: Tensor
    blurs: Tensor
    longest: float
    tiny: float


def half_table(table: Tensor, rows: int, width: int) -> HalfTable:
    """Return the float16 copy of a table (V + 1, D).

    It has `rows` rows, padded to `width` columns.
    """
    V1, D = table.shape
    device = table.device
    largest = float(table.abs().max())
    scale = 2.0 ** (9 - math.frexp(largest)[1] if largest else 0)
    halves = torch.zeros(rows, width, dtype=torch.float16, device=device)
    blurs = torch.empty(rows // GROUP, device=device)
    longest = 0.0
    for start in range(0, rows, _ROWS_AT_ONCE):
        stop = min(start + _ROWS_AT_ONCE, rows)
        index = torch.arange(start, stop, device=device).clamp(1, V1 - 1)
        scaled = table[index] * scale
        halves[start:stop, :D] = scaled
        rounding = (scaled - halves[start:stop, :D].float()).norm(dim=1)
        norms = scaled.norm(dim=1)
        longest = max(longest, float(norms.max()))
        bound = _blur(D) * norms + (1 + 1.1 * _HALF) * rounding
        blurs[start // GROUP : stop // GROUP] = bound.view(-1, GROUP).amax(dim=1) * (1 + 4 * D * _EPSILON)
    return HalfTable(halves, blurs, longest / scale, max(D * 2.0**-148 * scale, 2.0**-126))


def _blur(D: int) -> float:
    """Return the error bound of a rough score.

    The row is one that float16 holds exactly. Query and row have norm one, and the query's largest element is in
    [1, 2). Float16 moves each element of the query by 2^-11 of itself, or by 2^-25 where it is subnormal. The matrix
    unit multiplies exactly and adds in blocks of at least eight terms, which it truncates to at least 23 bits of the
    largest: below 4 D 2^-23. The exact score rounds each product and each sum: below D 2^-23. The bounds themselves
    are rounded four times.
    """
    return _HALF + math.sqrt(D) * 2.0**-25 + (5 * D + 8) * _EPSILON


def no_rows(words: int, rows: int, device: torch.device) -> Tensor:
    """Return the bitmap of rows that are never found.

    These are row 0 and those beyond the table.
    """
    row = torch.arange(words * GROUP, device=device)
    return pack_bits((row == 0) | (row >= rows))


def pack_bits(bits: Tensor) -> Tensor:
    """Return bits (..., 32 * words) as int32 words, lowest bit first."""
    weights = torch.ones(GROUP, dtype=torch.int64, device=bits.device) << torch.arange(GROUP, device=bits.device)
    words = (bits.view(*bits.shape[:-1], -1, GROUP) * weights).sum(dim=-1)
    return torch.where(words >= 1 << 31, words - (1 << 32), words).to(torch.int32)


def supported(table: Tensor) -> bool:
    """Return whether the kernels can search this table.

    It must be finite and not too wide for their tiles.
    """
    return table.shape[1] <= 128 and len(table) > 1 and bool(table.isfinite().all())
