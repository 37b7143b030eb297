"""Kernels of `filtered_ivf`.

Axes: V items, D model width, L lists, Q queries. Places are positions in the lists, end to end: list l has the
positions from starts[l] up to starts[l + 1].
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.compiled.array_types import F32, I64, U32
from model.compiled.jit import kernel
from service.engine.search.filtered_exact import NO_ROWS, is_allowed, list_allowed
from service.engine.search.scoring import insert_row, row_score
from service.engine.search.top_k_queries import QueryArrays, ResultArrays

# Lists are visited in order of their bounds, in this many steps.
_STEPS = 128
# Least square of a part across its list, for a row of length one: below it there is only rounding.
LEAST_ACROSS = np.float32(1e-6)
_ZERO, _FLOAT_STEPS = np.float32(0), np.float32(_STEPS)
_MINUS_INFINITY, _INFINITY, _TINY = np.float32(-np.inf), np.float32(np.inf), np.float32(1e-30)


@kernel
def split_rows(table: F32, lists: NDArray[np.int32], directions: F32, parts: F32) -> None:
    """Write each row's parts along and across its list to parts[:, 1:].

    lists[:, 0] are the rows' lists, and directions (L, D) have length one. No part across is quite zero, because
    rounding is not.
    """
    for n in range(1, len(table)):
        row = table[n]
        along, square = row_score(row, directions[lists[n, 0]]), row_score(row, row)
        parts[n, 1] = along
        parts[n, 2] = np.sqrt(max(square - along * along, LEAST_ACROSS * square))


@kernel
def scan_allowed(
    table: F32,
    lists: NDArray[np.int32],
    parts: F32,
    closeness: F32,
    reaches: F32,
    queries: QueryArrays,
    bitmap: U32,
    result: ResultArrays,
) -> None:
    """Search all allowed rows by their bounds.

    Args:
        table: (V + 1, D)
        lists: (V + 1, 3) the first column has the list of each row.
        parts: (V + 1, 3) the same memory; the other columns have the rows' parts along and across.
        closeness: (Q, L) products of queries and lists' directions.
        reaches: (Q,) bound of a query's product with a part across, for length one.
        queries: see `TopKQueries`.
        bitmap: see `AllowedRows`.
        result: is written; see `TopKResult`.
    """
    vectors, ks, excluded, excluded_start, excluded_end = queries
    rows, scores, lengths = result
    listed, count = np.empty(len(table), np.int64), NO_ROWS
    for word in range(len(bitmap)):
        count = list_allowed(bitmap, word, len(table), listed, count)
    for q in range(len(vectors)):
        without, k = excluded[excluded_start[q] : excluded_end[q]], min(ks[q], rows.shape[1])
        own_rows, own_scores, n, reach = rows[q, :k], scores[q, :k], 0, reaches[q]
        if k > 0:
            for row in listed[:count]:
                bound = parts[row, 1] * closeness[q, lists[row, 0]] + reach * parts[row, 2]
                if n < k or bound > own_scores[k - 1]:
                    n = insert_row(row, row_score(table[row], vectors[q]), without, own_rows, own_scores, n)
        lengths[q] = n


@kernel
def search_lists(
    table: F32,
    starts: I64,
    list_rows: NDArray[np.int32],
    parts: F32,
    shapes: F32,
    closeness: F32,
    scatters: F32,
    list_margin: np.float32,
    row_margin: np.float32,
    queries: QueryArrays,
    bitmap: U32,
    result: ResultArrays,
    effort: I64,
) -> None:
    """Search the lists in order of their bounds.

    Args:
        table: (V + 1, D)
        starts: (L + 1,)
        list_rows: (V, 3) the first column has the rows of the lists, longest first.
        parts: (V, 3) the same memory; the other columns have the rows' parts along and across their list's direction.
        shapes: (L, 4) mean and deviation of the rows' directions along the list's, largest and least length of a
            row; lengths below zero mark a list without rows.
        closeness: (Q, L) products of queries and lists' directions.
        scatters: (Q,) deviation of a query's product with a part across, for length one.
        list_margin: how many deviations bound the products of a list's directions.
        row_margin: how many deviations bound the product with a part across.
        queries: see `TopKQueries`.
        bitmap: see `AllowedRows`.
        result: is written; see `TopKResult`.
        effort: (2,) the numbers of rows that are tested, and of those that are read, are added.
    """
    vectors, ks, excluded, excluded_start, excluded_end = queries
    rows, scores, lengths = result
    tested = read = 0
    units, bounds = np.empty(len(shapes), np.float32), np.empty(len(shapes), np.float32)
    order = np.empty(len(shapes), np.int64)
    for q in range(len(vectors)):
        without, k = excluded[excluded_start[q] : excluded_end[q]], min(ks[q], rows.shape[1])
        own_rows, own_scores, n, reach = rows[q, :k], scores[q, :k], 0, row_margin * scatters[q]
        if k > 0:
            _bound_lists(shapes, closeness[q], scatters[q], list_margin, units, bounds)
            _sort_lists(bounds, order)
            for number in order:
                least = own_scores[k - 1] if n == k else _MINUS_INFINITY
                if bounds[number] <= least:
                    continue
                start, end, close = starts[number], starts[number + 1], closeness[q, number]
                backward, limit = units[number] <= _ZERO, _length_limit(units[number], least)
                for nth in range(end - start):
                    tested += 1
                    position = end - 1 - nth if backward else start + nth
                    along, across = parts[position, 1], parts[position, 2]
                    if n == k:
                        square = along * along + across * across
                        if square >= limit if backward else square <= limit:
                            break
                        if along * close + reach * across <= least:
                            continue
                    row = int(list_rows[position, 0])
                    if is_allowed(bitmap, row):
                        read += 1
                        n = insert_row(row, row_score(table[row], vectors[q]), without, own_rows, own_scores, n)
                        if n == k and own_scores[k - 1] > least:
                            least = own_scores[k - 1]
                            limit = _length_limit(units[number], least)
        lengths[q] = n
    effort[0] += tested
    effort[1] += read


@kernel
def _bound_lists(
    shapes: F32, closeness: F32, scatter: np.float32, margin: np.float32, units: F32, bounds: F32
) -> None:
    """Bound the scores of lists (L,) and of unit rows."""
    for number in range(len(units)):
        mean, spread, longest, shortest = shapes[number]
        unit = closeness[number] * mean + margin * scatter * spread
        units[number] = unit
        bounds[number] = unit * (longest if unit > _ZERO else shortest)
        if longest < _ZERO:
            bounds[number] = _MINUS_INFINITY


@kernel
def _length_limit(unit: np.float32, least: np.float32) -> np.float32:
    """Return the square of the length where a list ends.

    From there on no row can score above `least`.

    With a positive bound of a row of length one, these are the shorter rows, else the longer ones.
    """
    if unit > _ZERO:
        return (least / unit) * (least / unit) if least > _ZERO else _ZERO
    return (least / unit) * (least / unit) if least < _ZERO and unit < _ZERO else _INFINITY


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
