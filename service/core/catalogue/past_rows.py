"""Rows that an earlier revision allowed, computed from the newest entries.

The store keeps an item's newest record only. What an item was before is unknown once it has changed; every other item
is as it was.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.core.catalogue.columns.item_columns import ItemColumns
from service.core.catalogue.expression.predicates import Predicate
from service.core.catalogue.filter_bitmaps.filter_bitmap import FilterBitmap, Source
from service.core.catalogue.filter_bitmaps.model_rows import ModelRows
from service.core.catalogue.revisions import Revision

_NO_BOUND = 1 << 62

InThread = Callable[[Callable[[], None]], Awaitable[None]]


class PastMoment(NamedTuple):
    """Moment of an answer.

    Attributes:
        revision: The revision that it names.
        now: The time of now(), in microseconds.
    """

    revision: Revision
    now: int


class PastRows(NamedTuple):
    """Rows of one model under an earlier revision.

    Attributes:
        allowed: (V + 1,) whether each row is allowed now, with the now() of then.
        changed: (V + 1,) whether the row's item has changed since.
        rows: Rows of the items that were asked about, 0 for those that the model does not know.
    """

    allowed: NDArray[np.bool_]
    changed: NDArray[np.bool_]
    rows: list[int]


async def past_rows(
    source: Source,
    model: ModelRows,
    predicate: Predicate | None,
    moment: PastMoment,
    item_ids: Sequence[str],
    in_thread: InThread,
) -> PastRows:
    """Evaluate a filter for an earlier revision and time.

    The rows are those of the moment of the return.

    Args:
        source: Items of the worker's copy, which has all changes up to the revision.
        model: Rows of the model.
        predicate: The filter; None for availability only.
        moment: The earlier revision and time.
        item_ids: Items whose rows to return.
        in_thread: Runs the evaluation beside the event loop.
    """
    bitmap = FilterBitmap(source, model, predicate)
    evaluation = bitmap.start(moment.now)
    await in_thread(partial(bitmap.evaluate, evaluation))
    bitmap.finish(evaluation)
    bitmap.catch_up(moment.now, _NO_BOUND)
    size, changed = model.count + 1, _changed(source.columns, moment.revision)
    rows = _rows_of(model, source.columns, item_ids)
    return PastRows(bitmap.allowed.mask(size), model.allowed(changed).mask(size), rows)


def _changed(columns: ItemColumns, revision: Revision) -> NDArray[np.bool_]:
    """Return the rows of the columns whose entries are newer."""
    rows = slice(columns.row_count)
    numbers = np.zeros(np.iinfo(np.uint8).max + 1, np.int64)
    numbers[: len(revision.positions)] = [number for number, _ in revision.positions]
    newer: NDArray[np.bool_] = columns.revisions.data[rows] > numbers[columns.shards.data[rows]]
    return newer


def _rows_of(model: ModelRows, columns: ItemColumns, item_ids: Sequence[str]) -> list[int]:
    rows = columns.rows_of(item_ids)
    known, model_rows = model.select(np.unique(rows[rows > 0]))
    found = dict(zip(known.tolist(), model_rows.tolist(), strict=True))
    return [found.get(row, 0) for row in rows.tolist()]
