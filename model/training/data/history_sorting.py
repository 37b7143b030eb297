"""Sort histories larger than memory, and find duplicate events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.training.data import disk_arrays


def user_blocks(offsets: NDArray[np.int64]) -> Iterator[tuple[slice, slice]]:
    """Yield consecutive users and their events, block by block.

    A block has at most `CHUNK_EVENTS` events, but at least one user.
    """
    first = 0
    while first < len(offsets) - 1:
        end = offsets[first] + disk_arrays.CHUNK_EVENTS
        last = max(first + 1, int(np.searchsorted(offsets, end, side="right")) - 1)
        yield slice(first, last), slice(int(offsets[first]), int(offsets[last]))
        first = last


def sort_histories(
    order: NDArray[Any], offsets: NDArray[np.int64], columns: list[NDArray[Any]], *, drop_duplicates: bool
) -> tuple[NDArray[np.int64], int]:
    """Sort the columns of each history by `order`, in place and stable.

    Args:
        order: (N,) numbers such as times.
        offsets: (U + 1,) begin of each user's events.
        columns: (N,) each; the first has the items. Dropped events leave room at their ends.
        drop_duplicates: leave out events that repeat item and order of the same user.

    Returns:
        The new offsets, and the number of duplicates.
    """
    lengths = np.diff(offsets)
    written = duplicates = 0
    for users, events in user_blocks(offsets):
        user_of_event = np.repeat(np.arange(users.stop - users.start), lengths[users])
        own_order = order[events]
        by_order = np.lexsort((own_order, user_of_event))
        ordered = [column[events][by_order] for column in columns]
        repeated = _repeated(user_of_event, own_order[by_order], ordered[0])
        duplicates += len(repeated)
        target = events
        if drop_duplicates:
            ordered = [np.delete(column, repeated) for column in ordered]
            lengths[users] -= np.bincount(user_of_event[repeated], minlength=users.stop - users.start)
            target = slice(written, written + len(ordered[0]))
            written = target.stop
        for column, values in zip(columns, ordered, strict=True):
            column[target] = values
    return np.concatenate([[0], np.cumsum(lengths)]), duplicates


def _repeated(users: NDArray[np.int64], order: NDArray[Any], items: NDArray[Any]) -> NDArray[np.int64]:
    """Return the positions of events that repeat an earlier one.

    The events are sorted by user and order. User, order and item are compared.
    """
    is_tie = (users[1:] == users[:-1]) & (order[1:] == order[:-1])
    if not is_tie.any():
        return np.zeros(0, np.int64)
    tied = np.flatnonzero(np.append(is_tie, False) | np.append(False, is_tie))
    group = np.cumsum(np.append(True, ~is_tie))[tied]
    by_item = np.lexsort((items[tied], group))
    group, own = group[by_item], items[tied][by_item]
    repeats = (group[1:] == group[:-1]) & (own[1:] == own[:-1])
    result: NDArray[np.int64] = np.sort(tied[by_item][1:][repeats])
    return result
