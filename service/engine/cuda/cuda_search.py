"""Exact top-k of the whole catalogue, on the table's device.

On a GPU the kernels of `topk_search` answer. Other queries, and all on a CPU, are searched in PyTorch with all scores
in memory. A matrix product may round equal rows differently, depending on their position and on the batch. It
therefore only proposes candidates, with a margin for rounding. Candidates are scored again row by row, which decides
scores, ties and order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from model.compiled.array_types import F32, I64
from service.core.engine_requests import AllowedRows
from service.engine.appended_items import AppendedItems
from service.engine.cuda.cuda_graph import kernels_run
from service.engine.search.top_k_queries import TargetRanks, TopKQueries, TopKResult, check_filter

if TYPE_CHECKING:  # these need Triton, which a CPU's torch does not bring
    from service.engine.cuda.captured_search import CapturedSearch
    from service.engine.cuda.topk_search import TopKSearch

# Scores in memory at once: one gigabyte, or those of one query.
_SCORES = 1 << 28
# Candidates beyond k. If more rows than these are within the rounding margin, all of them are candidates.
_SPARE = 32


class CudaSearch:
    """Search of a table (V + 1, D); see `interfaces.Search`."""

    def __init__(self, table: Tensor) -> None:
        self._table = table
        norms, limits = table.norm(dim=1), torch.finfo(torch.float32)
        self._per_norm = 1 / norms.clamp(min=limits.tiny)
        # Largest difference between two orders of summing the D terms of a product, for a query of length one.
        self._blur = 2 * table.shape[1] * limits.eps * norms.max()
        self.kernels: TopKSearch | None
        self._captured: CapturedSearch | None
        self.kernels, self._captured = _kernel_search(table)

    @torch.inference_mode()
    def top_k(self, queries: TopKQueries, appended: AppendedItems | None = None) -> TopKResult:
        """Return the rows with the highest products."""
        k = min(int(queries.k.max(initial=0)), len(self._table) - 1)
        if self.kernels is None or self._captured is None or not self.kernels.answers(k):
            return self.top_k_in_pytorch(queries)
        return self._top_k(queries, k, self._captured)

    @torch.inference_mode()
    def top_k_in_pytorch(self, queries: TopKQueries) -> TopKResult:
        """Return the same as `top_k`, without the kernels."""
        return self._search(queries, None)

    @torch.inference_mode()
    def target_ranks(self, queries: TopKQueries, targets: I64, appended: AppendedItems | None = None) -> TargetRanks:
        """Return the targets' ranks."""
        found = TargetRanks.allocate(len(targets))
        together = max(1, _SCORES // len(self._table))
        for start in range(0, len(targets), together):
            which = np.arange(start, min(start + together, len(targets)))
            found.among_all[which], found.among_unseen[which] = self._rank(queries.take(which), targets[which])
        return found

    @torch.inference_mode()
    def nearest(
        self, row: int, k: int, allowed: AllowedRows | None, excluded: Sequence[int], appended: AppendedItems
    ) -> TopKResult:
        """Return the `k` allowed rows nearest to `row` by cosine; see `interfaces.Search`."""
        direction = (self._table[row] * self._per_norm[row])[None].cpu().numpy()
        only = TopKQueries.without_exclusions(direction, k).restricted([allowed], [[row, *excluded]])
        return self._search(only, self._per_norm)

    @torch.inference_mode()
    def scores(self, rows: I64, output: F32, appended: AppendedItems) -> F32:
        """Return the products of `output` (D,) and these rows (N,)."""
        device = self._table.device
        # Not a matrix product, which may round equal rows differently.
        products = (self._table[torch.from_numpy(rows).to(device)] * torch.tensor(output, device=device)).sum(dim=1)
        found: F32 = products.cpu().numpy()
        return found

    def metrics(self) -> dict[str, float]:
        """Return nothing, because every result is exact."""
        return {}

    def _rank(self, queries: TopKQueries, targets: I64) -> tuple[I64, I64]:
        """Return the targets' ranks among all rows and among unseen ones.

        Rows clearly above the target count at once; rows within the rounding margin are scored again.
        """
        device = self._table.device
        vectors, target = (torch.from_numpy(array).to(device) for array in (queries.vectors, targets))
        rough = vectors @ self._table.T
        rough[:, 0] = -torch.inf
        above = rough - rough.gather(1, target[:, None])
        blur = 2 * self._blur * vectors.norm(dim=1, keepdim=True)
        seen = [np.unique(rows).astype(np.int64) for rows in queries.excluded_rows()]
        whose = np.repeat(np.arange(len(targets)), [len(rows) for rows in seen])
        near = (above.abs() <= blur).nonzero()
        pairs = torch.cat([near, torch.from_numpy(np.stack([whose, np.concatenate(seen)], axis=1)).to(device)])
        q, rows = pairs.T
        scores = (self._table[rows] * vectors[q]).sum(dim=1)
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
        found, answers = TopKResult.allocate(queries, len(self._table) - 1), search(queries, k)
        found.rows[:], found.scores[:] = answers.rows[:, :k], answers.scores[:, :k]
        found.lengths[:] = np.minimum((found.scores > -np.inf).sum(axis=1), queries.k)
        crowded = np.flatnonzero(~answers.complete & (queries.k > 0))
        if crowded.size:
            rest = self._search(queries.take(crowded), None)
            columns = rest.rows.shape[1]
            found.rows[crowded, :columns], found.scores[crowded, :columns] = rest.rows, rest.scores
            found.lengths[crowded] = rest.lengths
        return found

    def _search(self, queries: TopKQueries, scale: Tensor | None) -> TopKResult:
        found = TopKResult.allocate(queries, len(self._table) - 1)
        k = found.rows.shape[1]
        if k == 0:
            return found
        together = max(1, _SCORES // len(self._table))
        for start in range(0, len(queries.k), together):
            which = np.arange(start, min(start + together, len(queries.k)))
            part = queries.take(which)
            vectors = torch.from_numpy(part.vectors).to(self._table.device)
            rough = self._score_all(part, vectors, scale)
            rows = candidates(rough, k, self._blur * vectors.norm(dim=1)).sort(dim=1).values
            scores = self._score(rows, vectors, scale).masked_fill_(rough.gather(1, rows) == -torch.inf, -torch.inf)
            ordered = scores.sort(dim=1, descending=True, stable=True)
            found.scores[which] = ordered.values[:, :k].cpu().numpy()
            found.rows[which] = rows.gather(1, ordered.indices)[:, :k].cpu().numpy()
        answers = (found.scores > -np.inf).sum(axis=1)
        found.lengths[:] = np.minimum(answers, queries.k)
        return found

    def _score_all(self, queries: TopKQueries, vectors: Tensor, scale: Tensor | None) -> Tensor:
        """Return scores (Q, V + 1), -inf where forbidden or excluded."""
        scores = vectors @ self._table.T
        if scale is not None:
            scores *= scale
        scores[:, 0] = -torch.inf
        for number, allowed in enumerate(queries.filters):
            check_filter(allowed, len(self._table) - 1)
            forbidden = torch.from_numpy(~allowed.mask(len(self._table))).to(scores.device)
            chosen = torch.from_numpy(np.flatnonzero(queries.chosen == number)).to(scores.device)
            scores[chosen] = scores[chosen].masked_fill_(forbidden, -torch.inf)
        lengths = queries.excluded_end - queries.excluded_start
        if lengths.any():
            whose = np.repeat(np.arange(len(lengths)), lengths)
            rows = np.concatenate(queries.excluded_rows()).astype(np.int64)
            device = self._table.device
            scores[torch.from_numpy(whose).to(device), torch.from_numpy(rows).to(device)] = -torch.inf
        return scores

    def _score(self, rows: Tensor, vectors: Tensor, scale: Tensor | None) -> Tensor:
        """Return the scores of some rows (Q, C) for each query."""
        scores = (self._table[rows] * vectors[:, None]).sum(dim=2)
        return scores if scale is None else scores * scale[rows]


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
    from service.engine.cuda.topk_table import supported

    if not supported(table):
        return None, None
    search = TopKSearch(table)
    return search, CapturedSearch(search)
