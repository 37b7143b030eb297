"""Kernels of `bounded_lists`.

Axes: V items, D model width, L lists, Q queries. Places are positions in `rows` (V,), which holds the lists end to
end: list l is rows[starts[l] : starts[l + 1]].
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.engine.arrays import F32, I64, U32
from service.engine.jit import kernel
from service.engine.search.allowed_rows import is_allowed
from service.engine.search.scoring import insert_row, row_score

# Lists are visited in order of their bounds, in this many steps.
_STEPS = 128
# Least square of a part across its list, for a row of length one: below it there is only rounding.
LEAST_ACROSS = np.float32(1e-6)
_ZERO, _FLOAT_STEPS = np.float32(0), np.float32(_STEPS)
_MINUS_INFINITY, _INFINITY, _TINY = np.float32(-np.inf), np.float32(np.inf), np.float32(1e-30)


@kernel
def split_rows(table: F32, rows: NDArray[np.int32], starts: I64, directions: F32, along: F32, across: F32) -> None:
    """Write the parts (V,) of each row along and across the direction of its list.

    directions (L, D) have length one.
    """
    for number in range(len(directions)):
        for place in range(starts[number], starts[number + 1]):
            row = table[rows[place]]
            part = row_score(row, directions[number])
            along[place] = part
            whole = row_score(row, row)
            across[place] = np.sqrt(max(whole - part * part, LEAST_ACROSS * whole))


@kernel
def search_lists(
    table: F32,
    list_rows: NDArray[np.int32],
    starts: I64,
    along: F32,
    across: F32,
    widest: F32,
    closeness: F32,
    reaches: F32,
    vectors: F32,
    ks: I64,
    excluded: U32,
    excluded_start: I64,
    excluded_end: I64,
    bitmap: U32,
    rows: I64,
    scores: F32,
    lengths: I64,
) -> None:
    """Write the fields of `TopKResult`.

    Args:
        table: (V + 1, D)
        list_rows: (V,) rows of the lists, in descending order of `along`.
        starts: (L + 1,)
        along: (V,) see `split_rows`.
        across: (V,)
        widest: (L,) the largest `across` of each list.
        closeness: (Q, L) products of queries and directions.
        reaches: (Q,) bound of a query's product with a row across its list's direction, for length one.
        vectors, ks, excluded, excluded_start, excluded_end: see `TopKQueries`.
        bitmap: see `AllowedRows`.
        rows, scores, lengths: see `TopKResult`.
    """
    bounds, order = np.empty(len(widest), np.float32), np.empty(len(widest), np.int64)
    for q in range(len(vectors)):
        without, k = excluded[excluded_start[q] : excluded_end[q]], min(ks[q], rows.shape[1])
        own_rows, own_scores, n = rows[q, :k], scores[q, :k], 0
        if k > 0:
            reach = reaches[q]
            for number in range(len(widest)):
                start, end, close = starts[number], starts[number + 1], closeness[q, number]
                bounds[number] = _MINUS_INFINITY
                if end > start:
                    bounds[number] = max(along[start] * close, along[end - 1] * close) + reach * widest[number]
            _sort_lists(bounds, order)
            for number in order:
                if n == k and bounds[number] <= own_scores[k - 1]:
                    continue
                start, end, close = starts[number], starts[number + 1], closeness[q, number]
                most = reach * widest[number]
                for nth in range(
                    end - start
                ):  # the best first: the longest along the query, or the shortest against it
                    place = start + nth if close > _ZERO else end - 1 - nth
                    if n == k:
                        expected, least = along[place] * close, own_scores[k - 1]
                        if expected + most <= least:
                            break
                        if expected + reach * across[place] <= least:
                            continue
                    row = np.int64(list_rows[place])
                    if is_allowed(bitmap, row):
                        n = insert_row(row, row_score(table[row], vectors[q]), without, own_rows, own_scores, n)
        lengths[q] = n


@kernel
def _sort_lists(bounds: F32, order: I64) -> None:
    """Sort the lists roughly by their bounds, highest first."""
    highest, lowest = _MINUS_INFINITY, _INFINITY
    for bound in bounds:
        if bound > _MINUS_INFINITY:
            highest, lowest = max(highest, bound), min(lowest, bound)
    scale = _FLOAT_STEPS / max(highest - lowest, _TINY)
    counts, steps = np.zeros(_STEPS + 2, np.int64), np.empty(len(bounds), np.int64)
    for number in range(len(bounds)):
        step = _STEPS
        if bounds[number] > _MINUS_INFINITY:
            step = min(int((highest - bounds[number]) * scale), _STEPS - 1)
        steps[number] = step
        counts[step + 1] += 1
    for step in range(_STEPS):
        counts[step + 1] += counts[step]
    for number in range(len(bounds)):
        order[counts[steps[number]]] = number
        counts[steps[number]] += 1
