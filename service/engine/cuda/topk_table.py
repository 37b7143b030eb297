"""The float16 copy of a table that `topk_search` reads, and how far its scores may be from the exact ones."""

from __future__ import annotations

import torch
from torch import Tensor

GROUP = 32  # rows, one word of a bitmap
_BUILD_ROWS = 1 << 22
_MANTISSA = 2.0**-23  # of float32
_HALF = 2.0**-11  # the relative rounding of float16


def supported(table: Tensor) -> bool:
    """Whether the kernels can search this table: not too wide for their tiles, and all of it numbers."""
    return 1 <= table.shape[1] <= 128 and len(table) > 1 and bool(table.isfinite().all())


def half_table(table: Tensor, rows: int, width: int) -> tuple[Tensor, Tensor, float, float]:
    """The table as float16 (rows, width), the blur of each group, the longest row's norm and `prepare`'s `tiny`.

    The copy is scaled by a power of two. Row 0 repeats row 1 and rows beyond the table repeat the last one, so that
    they change no group's best score.
    """
    V1, D = table.shape
    device = table.device
    largest = float(table.abs().max())
    scale = 2.0 ** (9 - (torch.tensor(largest).frexp().exponent.item() if largest else 0))
    halves = torch.zeros(rows, width, dtype=torch.float16, device=device)
    blurs = torch.empty(rows // GROUP, device=device)
    longest = 0.0
    for start in range(0, rows, _BUILD_ROWS):
        stop = min(start + _BUILD_ROWS, rows)
        index = torch.arange(start, stop, device=device).clamp(min(1, V1 - 1), V1 - 1)
        scaled = table[index] * scale
        halves[start:stop, :D] = scaled
        rounding = (scaled - halves[start:stop, :D].float()).norm(dim=1)
        norms = scaled.norm(dim=1)
        longest = max(longest, float(norms.max()))
        bound = blur(D) * norms + (1 + _HALF * 1.1) * rounding
        blurs[start // GROUP : stop // GROUP] = bound.view(-1, GROUP).amax(dim=1) * (1 + 4 * D * _MANTISSA)
    tiny = max(D * 2.0**-148 * scale, 2.0**-126)
    return halves, blurs, longest / scale, tiny


def blur(D: int) -> float:
    """How far a rough score may be from the exact one, beside what rounding the row to float16 does.

    For a query of norm one (scaled to a largest element in [1, 2)) and a row of norm one. Rounding the query to
    float16 moves each element by 2^-11 of itself, or 2^-25 where that is subnormal. The matrix unit multiplies
    exactly and adds in blocks of eight terms or more, truncating each to at least 23 bits of the largest: below
    4 D 2^-23. The exact score rounds each product and sum, below D 2^-23; the bounds themselves four times.
    """
    return _HALF + D**0.5 * 2.0**-25 + (5 * D + 8) * _MANTISSA


def no_rows(words: int, rows: int, device: torch.device) -> Tensor:
    """A bitmap of what is no answer anyway: row 0, and what is beyond the table."""
    row = torch.arange(words * GROUP, device=device)
    return pack_bits((row == 0) | (row >= rows))


def pack_bits(bits: Tensor) -> Tensor:
    """Bits (…, 32 * words) as int32 words, the lowest bit first."""
    weights = torch.ones(GROUP, dtype=torch.int64, device=bits.device) << torch.arange(GROUP, device=bits.device)
    words = (bits.view(*bits.shape[:-1], -1, GROUP) * weights).sum(dim=-1)
    return torch.where(words >= 1 << 31, words - (1 << 32), words).to(torch.int32)
