"""Exact top-k of the whole catalogue, on the table's device.

On a GPU the kernels of `topk_search` answer. Other queries, and all on a CPU, are searched in PyTorch with all scores
in memory. A matrix product may round equal rows differently, depending on their position and on the batch. It
therefore only proposes candidates, with a margin for rounding. Candidates are scored again row by row, which decides
scores, ties and order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.compiled.array_types import F32, I64
from service.core.engine_requests import AllowedRows
from service.engine.appended_items import AppendedItems
from service.engine.cuda.cuda_graph import kernels_run
from service.engine.cuda.device_table import ItemTable, supported
from service.engine.search.top_k_queries import TargetRanks, TopKQueries, TopKResult, check_filter

if TYPE_CHECKING:  # these need Triton, which a CPU's torch does not bring
    from service.engine.cuda.captured_search import CapturedSearch
    from service.engine.cuda.topk_search import TopKSearch

# Scores in memory at once: one gigabyte, or those of one query.
_SCORES = 1 << 28
# Candidates beyond k. If more rows than these are within the rounding margin, all of them are candidates.
_SPARE = 32


class Rows(NamedTuple):
    """Consecutive rows of the table."""

    start: int
    size: int


class CudaSearch:
    """Search of a table (V + 1, D); see `interfaces.Search`.

    Appended rows are in the table too. The kernels search the trained ones; the others are searched in PyTorch.
    """

    def __init__(self, table: Tensor | ItemTable) -> None:
        self._items = table if isinstance(table, ItemTable) else ItemTable(table)
        self._trained = len(self._items.trained) - 1
        self._device = self._items.whole.device
        self.kernels: TopKSearch | None
        self._captured: CapturedSearch | None
        self.kernels, self._captured = _kernel_search(self._items.trained)

    @torch.inference_mode()
    def top_k(self, queries: TopKQueries, appended: AppendedItems | None = None) -> TopKResult:
        """Return the rows with the highest products."""
        more = 0 if appended is None else appended.count
        k = min(int(queries.k.max(initial=0)), self._trained)
        if self.kernels is None or self._captured is None or not self.kernels.answers(k):
            return self.top_k_in_pytorch(queries, more)
        found = self._top_k(queries.for_trained(self._trained), k, self._captured)
        if not more or not queries.filters:
            return found
        return merged(found, self._search(queries, Rows(self._trained + 1, more)), queries, self._trained + more)

    @torch.inference_mode()
    def top_k_in_pytorch(self, queries: TopKQueries, appended: int = 0) -> TopKResult:
        """Return the same as `top_k`, without the kernels."""
        return self._search(queries, self._all_rows(appended))

    @torch.inference_mode()
    def target_ranks(self, queries: TopKQueries, targets: I64, appended: AppendedItems | None = None) -> TargetRanks:
        """Return the targets' ranks."""
        found, rows = TargetRanks.allocate(len(targets)), self._all_rows(0 if appended is None else appended.count)
        together = max(1, _SCORES // rows.size)
        for start in range(0, len(targets), together):
            which = np.arange(start, min(start + together, len(targets)))
            found.among_all[which], found.among_unseen[which] = self._rank(queries.take(which), targets[which], rows)
        return found

    @torch.inference_mode()
    def nearest(
        self, row: int, k: int, allowed: AllowedRows | None, excluded: Sequence[int], appended: AppendedItems
    ) -> TopKResult:
        """Return the `k` allowed rows nearest to `row` by cosine; see `interfaces.Search`."""
        direction = (self._items.whole[row] * self._items.per_norm[row])[None].cpu().numpy()
        only = TopKQueries.without_exclusions(direction, k).restricted([allowed], [[row, *excluded]])
        return self._search(only, self._all_rows(appended.count), by_cosine=True)

    @torch.inference_mode()
    def scores(self, rows: I64, output: F32, appended: AppendedItems) -> F32:
        """Return the products of `output` (D,) and these rows (N,)."""
        vectors, vector = self._items.whole[self._put(rows)], torch.tensor(output, device=self._device)
        products = (vectors * vector).sum(dim=1)  # not a matrix product, which may round equal rows differently
        found: F32 = products.cpu().numpy()
        return found

    def metrics(self) -> dict[str, float]:
        """Return nothing, because every result is exact."""
        return {}

    def _rank(self, queries: TopKQueries, targets: I64, searched: Rows) -> tuple[I64, I64]:
        """Return the targets' ranks among all rows and among unseen ones.

        Rows clearly above the target count at once; rows within the rounding margin are scored again.
        """
        device, table = self._device, self._items.whole
        vectors, target = self._put(queries.vectors), self._put(targets)
        rough = vectors @ table[: searched.size].T
        rough[:, 0] = -torch.inf
        above = rough - rough.gather(1, target[:, None])
        blur = 2 * self._blur(vectors)[:, None]
        seen = [np.unique(rows).astype(np.int64) for rows in queries.excluded_rows()]
        whose = np.repeat(np.arange(len(targets)), [len(rows) for rows in seen])
        near = (above.abs() <= blur).nonzero()
        pairs = torch.cat([near, self._put(np.stack([whose, np.concatenate(seen)], axis=1))])
        q, rows = pairs.T
        scores = (table[rows] * vectors[q]).sum(dim=1)
        itself = rows[: len(near)] == target[q[: len(near)]]
        score = torch.empty(len(targets), device=device).index_put_((near[itself, 0],), scores[: len(near)][itself])
        ahead = (scores > score[q]) | ((scores == score[q]) & (rows < target[q]))
        counts = torch.zeros(2, len(targets), dtype=torch.int64, device=device)
        counts[0].index_add_(0, q[: len(near)], ahead[: len(near)].long())
        counts[1].index_add_(0, q[len(near) :], ahead[len(near) :].long())
        among_all = 1 + (above > blur).sum(dim=1) + counts[0]
        hidden = np.array([row in rows for row, rows in zip(targets, seen, strict=True)])
        return among_all.cpu().numpy(), np.where(hidden, 0, (among_all - counts[1]).cpu().numpy())

    def _top_k(self, queries: TopKQueries, k: int, search: CapturedSearch) -> TopKResult:
        """Search with the kernels.

        Queries for whose candidates they have no room are searched in PyTorch.
        """
        found, answers = TopKResult.allocate(queries, self._trained), search(queries, k)
        found.rows[:], found.scores[:] = answers.rows[:, :k], answers.scores[:, :k]
        found.lengths[:] = np.minimum((found.scores > -np.inf).sum(axis=1), queries.k)
        crowded = np.flatnonzero(~answers.complete & (queries.k > 0))
        if crowded.size:
            rest = self._search(queries.take(crowded), self._all_rows(0))
            columns = rest.rows.shape[1]
            found.rows[crowded, :columns], found.scores[crowded, :columns] = rest.rows, rest.scores
            found.lengths[crowded] = rest.lengths
        return found

    def _search(self, queries: TopKQueries, searched: Rows, *, by_cosine: bool = False) -> TopKResult:
        """Search some rows in PyTorch."""
        found = TopKResult.allocate(queries, searched.start + searched.size - 1)
        k = found.rows.shape[1]
        if k == 0:
            return found
        scale = self._items.per_norm if by_cosine else None
        together = max(1, _SCORES // searched.size)
        for start in range(0, len(queries.k), together):
            which = np.arange(start, min(start + together, len(queries.k)))
            part = queries.take(which)
            vectors = self._put(part.vectors)
            rough = self._score_all(part, vectors, searched, scale)
            at = candidates(rough, min(k, searched.size), self._blur(vectors)).sort(dim=1).values
            rows = at + searched.start
            scores = (self._items.whole[rows] * vectors[:, None]).sum(dim=2) * (1 if scale is None else scale[rows])
            scores.masked_fill_(rough.gather(1, at) == -torch.inf, -torch.inf)
            ordered = scores.sort(dim=1, descending=True, stable=True)
            columns = min(k, rows.shape[1])
            found.scores[which, :columns] = ordered.values[:, :k].cpu().numpy()
            found.rows[which, :columns] = rows.gather(1, ordered.indices)[:, :k].cpu().numpy()
        found.lengths[:] = np.minimum((found.scores > -np.inf).sum(axis=1), queries.k)
        return found

    def _score_all(self, queries: TopKQueries, vectors: Tensor, searched: Rows, scale: Tensor | None) -> Tensor:
        """Return scores (Q, rows), -inf where forbidden or excluded."""
        start, end = searched.start, searched.start + searched.size
        scores = vectors @ self._items.whole[start:end].T
        if scale is not None:
            scores *= scale[start:end]
        if start == 0:
            scores[:, 0] = -torch.inf
        chosen = queries.chosen if queries.filters else np.full(len(queries.k), -1)
        unfiltered = self._put(np.flatnonzero(chosen == -1))
        scores[unfiltered, max(0, self._trained + 1 - start) :] = -torch.inf  # appended rows need a filter
        for number, allowed in enumerate(queries.filters):
            check_filter(allowed, self._trained)
            forbidden = self._put(~allowed.mask(end)[start:])
            own = self._put(np.flatnonzero(chosen == number))
            scores[own] = scores[own].masked_fill_(forbidden, -torch.inf)
        lengths = queries.excluded_end - queries.excluded_start
        if lengths.any():
            whose = np.repeat(np.arange(len(lengths)), lengths)
            rows = np.concatenate(queries.excluded_rows()).astype(np.int64) - start
            inside = (rows >= 0) & (rows < searched.size)
            scores[self._put(whose[inside]), self._put(rows[inside])] = -torch.inf
        return scores

    def _all_rows(self, appended: int) -> Rows:
        return Rows(0, self._trained + 1 + appended)

    def _blur(self, vectors: Tensor) -> Tensor:
        """Return the largest difference (Q,) between orders of summing a product."""
        lengths: Tensor = vectors.norm(dim=1)
        return lengths * (2 * vectors.shape[1] * torch.finfo(torch.float32).eps * self._items.longest)

    def _put(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self._device)


def merged(found: TopKResult, more: TopKResult, queries: TopKQueries, last_row: int) -> TopKResult:
    """Return the best of two results; the second has higher rows."""
    result = TopKResult.allocate(queries, last_row)
    scores = np.concatenate([found.scores, more.scores], axis=1)
    rows = np.concatenate([found.rows, more.rows], axis=1)
    best = np.argsort(-scores, axis=1, kind="stable")[:, : result.rows.shape[1]]
    result.scores[:], result.rows[:] = np.take_along_axis(scores, best, 1), np.take_along_axis(rows, best, 1)
    result.lengths[:] = np.minimum(found.lengths + more.lengths, queries.k)
    return result


def candidates(scores: Tensor, k: int, blur: Tensor) -> Tensor:
    """Return the columns (Q, C) of the candidates in scores (Q, V).

    These are the `k` highest of each line, and all within `blur` (Q,) of them. Shorter lines are filled with 0.
    """
    wide = min(k + _SPARE, scores.shape[1])
    values, rows = torch.topk(scores, wide)
    if wide == scores.shape[1]:
        return rows
    least = values[:, k - 1] - blur
    missing = (values[:, -1] >= least) & (values[:, k - 1] > -torch.inf)
    near = [(scores[q] >= least[q]).nonzero()[:, 0] for q in missing.nonzero()[:, 0].tolist()]
    if not near:
        return rows
    longest = max(map(len, near))
    rows = torch.nn.functional.pad(rows, (0, max(0, longest - wide)))
    for q, more in zip(missing.nonzero()[:, 0].tolist(), near, strict=True):
        rows[q, : len(more)], rows[q, len(more) :] = more, 0
    return rows


def _kernel_search(table: Tensor) -> tuple[TopKSearch, CapturedSearch] | tuple[None, None]:
    """Return the kernels' search of this table, if it is possible."""
    if not kernels_run(table.device):
        return None, None
    from service.engine.cuda.captured_search import CapturedSearch
    from service.engine.cuda.topk_search import TopKSearch

    if not supported(table):
        return None, None
    search = TopKSearch(table)
    return search, CapturedSearch(search)
