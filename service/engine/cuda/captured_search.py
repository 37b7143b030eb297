"""`TopKSearch` for arrays in host memory, as a CUDA graph.

A search is one copy in, one graph and one copy out.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import cache, partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from model.compiled.array_types import F32, U32
from service.core.engine_requests import AllowedRows
from service.engine.cuda.cuda_graph import Mailbox, capture
from service.engine.cuda.topk_search import ANSWERS, ROOM, Excluded, Filters, Found, TopKSearch
from service.engine.search.top_k_queries import TopKQueries, check_filter

_SIZES = (1, 16, 64, 256, 1024)
_MAX_EXCLUDED = 1 << 20
MAX_FILTERS = 64


class Answers(NamedTuple):
    """Best rows of each query, then row 0 with score -inf.

    rows      (Q, K)
    scores    (Q, K) float32
    complete  (Q,) whether there was room for all candidates; if not, the line is not valid
    """

    rows: NDArray[np.int32]
    scores: F32
    complete: NDArray[np.bool_]


class DeviceFilters:
    """The filters used last, each in a row of one tensor.

    A CUDA graph reads the tensor, so its place in memory is fixed. Hold the search's lock from `load` to the end of
    the search.
    """

    def __init__(self, items: int, words: int, device: torch.device) -> None:
        """Allocate bitmaps of so many words for a catalogue of `items` items."""
        self._items = items
        self.bitmaps = torch.zeros(MAX_FILTERS, words, dtype=torch.int32, device=device)
        # By identity; holding the filter keeps its identity its own.
        self._slots: OrderedDict[int, tuple[AllowedRows, int]] = OrderedDict()

    def load(self, filters: Sequence[AllowedRows]) -> list[int]:
        """Copy the filters that are not there; return their bitmaps' numbers.

        Raises:
            ValueError: there are more than MAX_FILTERS filters, or one is of another catalogue.
        """
        if len(filters) > MAX_FILTERS:
            raise ValueError(f"{len(filters)} filters are more than {MAX_FILTERS}")
        for allowed in filters:
            check_filter(allowed, self._items)
            if id(allowed) in self._slots:
                self._slots.move_to_end(id(allowed))
        return [self._load(allowed) for allowed in filters]

    def _load(self, allowed: AllowedRows) -> int:
        if id(allowed) not in self._slots:
            number = len(self._slots)
            if number == MAX_FILTERS:
                _, (_, number) = self._slots.popitem(last=False)
            words = torch.from_numpy(allowed.bitmap[: self.bitmaps.shape[1]].view(np.int32))  # without appended rows
            self.bitmaps[number, : len(words)].copy_(words)
            self._slots[id(allowed)] = allowed, number
        return self._slots[id(allowed)][1]


class CapturedSearch:
    """Search of one table; thread-safe.

    A graph is captured at the first batch of its size.
    """

    def __init__(self, search: TopKSearch) -> None:
        self._search, self._dim = search, search.table.shape[1]
        device = search.table.device
        self._filters = DeviceFilters(len(search.table) - 1, search.words, device)
        self._inbox = Mailbox(_SIZES[-1] * (self._dim + 4) + _MAX_EXCLUDED, device)
        self._outbox = Mailbox(_SIZES[-1] * (2 * ANSWERS + 1), device)
        self._graph = cache(lambda *shape: capture(partial(self._run, *shape), device))
        if device.type == "cuda":
            self._compile()

    @torch.inference_mode()
    def __call__(self, queries: TopKQueries, k: int) -> Answers:
        """Return the `k` best rows of each query.

        A query's own k may be smaller.
        """
        if len(queries.filters) > MAX_FILTERS:
            return self._search_parts(queries, k)
        Q, lengths = len(queries.k), queries.excluded_end - queries.excluded_start
        if k > ANSWERS or _SIZES[-1] < Q or int(lengths.sum()) > _MAX_EXCLUDED:
            return self._launch(queries, k)
        size = next(size for size in _SIZES if size >= Q)
        rows, end = _joined(queries), np.cumsum(lengths)
        vectors_end, rows_start = self._dim * size, (self._dim + 4) * size
        with self._search.lock:
            inbox = self._inbox.host
            inbox[:vectors_end].view(np.float32).reshape(size, self._dim)[:Q] = queries.vectors
            header = inbox[vectors_end:rows_start].reshape(4, size)
            header[:, Q:] = 0
            header[:, :Q] = queries.k, rows_start + end - lengths, rows_start + end, self._load_filters(queries)
            inbox[rows_start : rows_start + len(rows)] = rows.view(np.int32)
            self._inbox.upload(rows_start + len(rows))
            self._graph(size, len(rows) > 0, len(queries.filters) > 0)()
            self._outbox.download((2 * ANSWERS + 1) * size)
            return _answers(self._outbox.host[: (2 * ANSWERS + 1) * size].copy(), size, ANSWERS, ROOM, Q)

    def _compile(self) -> None:
        """Search once in every way; no query then waits for the compiler."""
        for count in (1, _SIZES[2]):
            queries = TopKQueries.without_exclusions(np.ones((count, self._dim), np.float32), 1)
            excluding = queries._replace(excluded=np.ones(1, np.uint32), excluded_end=np.ones(count, np.int64))
            filtering = [
                asked.restricted([AllowedRows.of(np.ones(len(self._search.table), np.bool_))] * count, [()] * count)
                for asked in (queries, excluding)
            ]
            for asked in (queries, excluding, *filtering):
                self(asked, 1)
        k = 2 * ANSWERS
        while self._search.answers(k):
            self(queries, k)
            k *= 2

    def _search_parts(self, queries: TopKQueries, k: int) -> Answers:
        """Search as many queries at once as there is room for filters."""
        parts = []
        for first in range(0, len(queries.k), MAX_FILTERS):
            part = queries.take(np.arange(first, min(first + MAX_FILTERS, len(queries.k))))
            used, chosen = np.unique(part.chosen, return_inverse=True)
            filters = tuple(queries.filters[number] for number in used.tolist() if number >= 0)
            parts.append(self(part._replace(filters=filters, chosen=chosen - (used[0] < 0)), k))
        return Answers(*map(np.concatenate, zip(*parts, strict=True)))

    def _load_filters(self, queries: TopKQueries) -> NDArray[np.int64]:
        """Copy the filters to the device; return each query's bitmap (Q,)."""
        if not queries.filters:
            return np.full(len(queries.k), -1)
        return np.array([*self._filters.load(queries.filters), -1])[queries.chosen]

    def _run(self, size: int, excluding: bool, filtering: bool) -> None:
        """Search what is in the inbox."""
        inbox, out = self._inbox.device, self._outbox.device
        vectors = inbox[: self._dim * size].view(torch.float32).view(size, self._dim)
        k, start, end, chosen = inbox[self._dim * size : (self._dim + 4) * size].view(4, size)
        excluded = Excluded(inbox, start, end) if excluding else None
        filters = Filters(self._filters.bitmaps, chosen) if filtering else None
        self._search.search(vectors, k, excluded, filters, out=Found.of(out[: (2 * ANSWERS + 1) * size], ANSWERS))

    def _launch(self, queries: TopKQueries, k: int) -> Answers:
        """Search without a graph, for any size."""
        Q, device = len(queries.k), self._search.table.device
        lengths = queries.excluded_end - queries.excluded_start
        rows, end = _joined(queries), np.cumsum(lengths)
        vectors = torch.from_numpy(np.ascontiguousarray(queries.vectors)).to(device)
        limits, start, stop = torch.from_numpy(np.stack([queries.k, end - lengths, end])).to(device)
        excluded = Excluded(torch.from_numpy(rows.view(np.int32)).to(device), start, stop) if len(rows) else None
        columns, room = max(ANSWERS, 1 << (k - 1).bit_length()), self._search.room_for(k)
        words = torch.empty(Q * (2 * columns + 1), dtype=torch.int32, device=device)
        with self._search.lock:
            filters = None
            if queries.filters:
                chosen = torch.from_numpy(self._load_filters(queries).astype(np.int32)).to(device)
                filters = Filters(self._filters.bitmaps, chosen)
            self._search.search(vectors, limits, excluded, filters, room=room, out=Found.of(words, columns))
            return _answers(words.cpu().numpy(), Q, columns, room, Q)


def _joined(queries: TopKQueries) -> U32:
    """Return the excluded rows of all queries, end to end."""
    start, end = queries.excluded_start, queries.excluded_end
    if not (end > start).any():
        return np.empty(0, np.uint32)
    if (start[1:] == end[:-1]).all():
        return queries.excluded[start[0] : end[-1]].copy()
    return np.concatenate(queries.excluded_rows())


def _answers(words: NDArray[np.int32], size: int, columns: int, room: int, Q: int) -> Answers:
    """Return the first Q answers among the words of a `Found`."""
    rows, scores = words[: size * columns], words[size * columns : 2 * size * columns].view(np.float32)
    groups = words[2 * size * columns :]
    return Answers(rows.reshape(size, columns)[:Q], scores.reshape(size, columns)[:Q], groups[:Q] <= room)
