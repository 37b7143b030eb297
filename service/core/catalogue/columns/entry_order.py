"""Order of the entries of tables."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.core.catalogue.columns.byte_table import WORD_BYTES, TableView


def sorted_codes(view: TableView) -> NDArray[np.int64]:
    """Return the codes in the order of their entries."""
    return _sort(view)[0]


def entry_ranks(*views: TableView) -> list[NDArray[np.int64]]:
    """Return the rank of each code among the entries of all tables.

    Equal entries have equal ranks; code 0 has -1.
    """
    order, ranks = _sort(_joined(views))
    by_code = np.empty(len(order) + 1, np.int64)
    by_code[order], by_code[0] = ranks, -1
    found, first = [], 1
    for view in views:
        found.append(np.concatenate([by_code[:1], by_code[first : first + view.size]]))
        first += view.size
    return found


def _joined(views: tuple[TableView, ...]) -> TableView:
    ends = [int(view.starts[view.size + 1]) for view in views]
    content = np.concatenate(
        [view.content[:end] for view, end in zip(views, ends, strict=True)] + [np.zeros(1, np.uint8)]
    )
    offsets = np.cumsum([0, *ends])
    starts = [view.starts[2 : view.size + 2] + offset for view, offset in zip(views, offsets, strict=False)]
    return TableView(sum(view.size for view in views), content, np.concatenate([[0, 0], *starts]), views[0].gap)


def _sort(view: TableView) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the codes in order, and the rank of each.

    Sorts by the first eight bytes, then those that are equal there by the next eight, and so on.
    """
    order = np.arange(1, view.size + 1, dtype=np.int64)
    ranks = np.zeros(view.size, np.int64)  # of each position: the first position that is equal so far
    active = np.arange(view.size)  # positions of several that are equal and go on
    offset = 0
    while len(active):
        codes = order[active]
        words = view.words(codes, offset)
        # An entry that is equal up to the zero bytes of a longer one comes first.
        lengths = (view.starts[codes + 1] - view.starts[codes] - view.gap - offset).clip(0, WORD_BYTES)
        sorting = np.lexsort((lengths, words, ranks[active]))
        order[active], words, lengths = codes[sorting], words[sorting], lengths[sorting]
        is_new = np.ones(len(active), np.bool_)
        is_new[1:] = (words[1:] != words[:-1]) | (lengths[1:] != lengths[:-1]) | (np.diff(ranks[active]) != 0)
        starts = np.flatnonzero(is_new)
        sizes = np.diff(starts, append=len(active))
        ranks[active] = np.repeat(active[starts], sizes)
        active = active[(np.repeat(sizes, sizes) > 1) & (lengths == WORD_BYTES)]
        offset += WORD_BYTES
    return order, ranks
