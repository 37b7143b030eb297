"""Exact top-k over the whole catalogue on the table's device.

On a GPU the kernels of `topk_search` answer. What they cannot, and everything on a CPU, is searched in PyTorch with all
scores of some queries at once. A matrix product may round equal rows differently, depending on where they stand and on the batch. It proposes, with
a margin for that; what it proposes is scored again, each row by itself, and this decides scores, ties and order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from model.state_layout import F32
from service.engine.cuda.cuda_graph import kernels_run
from service.engine.search.exact import Best, Queries, TargetRanks, empty
from service.engine.state_codec_kernels import Index

if TYPE_CHECKING:  # it needs Triton, which is not everywhere where torch is
    from service.engine.cuda.captured_search import CapturedSearch
    from service.engine.cuda.topk_search import TopKSearch

# Scores that are in memory at once: one gigabyte, or one query's.
_SCORES = 1 << 28
# How many are proposed beyond those that are wanted. Where more than these are as good but for rounding, all are.
_SPARE = 32


class CudaSearch:
    """Searches a table (V + 1, D); see `parts.Search`."""

    def __init__(self, table: Tensor) -> None:
        self._table = table
        norms, limits = table.norm(dim=1), torch.finfo(torch.float32)
        self._per_norm = 1 / norms.clamp(min=limits.tiny)
        # For a query of length one: how far two ways of adding up the D terms of a product may be apart.
        self._blur = 2 * table.shape[1] * limits.eps * norms.max()
        self.fast, self._captured = _fast_search(table)

    @torch.inference_mode()
    def best(self, queries: Queries) -> Best:
        """The rows of the highest products."""
        k = min(int(queries.counts.max(initial=0)), len(self._table) - 1)
        if self.fast is None or self._captured is None or not self.fast.answers(k):
            return self._search(queries, None)
        return self._best(queries, k, self._captured)

    @torch.inference_mode()
    def ranks(self, queries: Queries, targets: Index) -> TargetRanks:
        """Where the targets stand."""
        found = TargetRanks(np.empty(len(targets), np.int64), np.empty(len(targets), np.int64))
        together = max(1, _SCORES // len(self._table))
        for start in range(0, len(targets), together):
            which = np.arange(start, min(start + together, len(targets)))
            found.among_all[which], found.among_unseen[which] = self._place(queries.only(which), targets[which])
        return found

    @torch.inference_mode()
    def nearest(self, row: int, k: int) -> Best:
        """The rows nearest to this one by cosine, without itself."""
        direction = (self._table[row] * self._per_norm[row])[None].cpu().numpy()
        itself = np.array([row], np.uint32)
        only = Queries(direction, np.array([k]), itself, np.zeros(1, np.int64), np.ones(1, np.int64))
        return self._search(only, self._per_norm)

    @torch.inference_mode()
    def scores(self, rows: Index, output: F32) -> F32:
        """The products of `output` (D,) with these rows (N,)."""
        device = self._table.device
        products = self._table[torch.from_numpy(rows).to(device)] @ torch.tensor(output, device=device)
        found: F32 = products.cpu().numpy()
        return found

    def measured(self) -> dict[str, float]:
        """Nothing: every answer is exact."""
        return {}

    def _place(self, queries: Queries, targets: Index) -> tuple[Index, Index]:
        """Rows whose rough scores are clearly above the target's are ahead of it; the near ones are scored again."""
        device = self._table.device
        vectors, target = (torch.from_numpy(array).to(device) for array in (queries.vectors, targets))
        rough = vectors @ self._table.T
        rough[:, 0] = -torch.inf
        above = rough - rough.gather(1, target[:, None])
        blur = 2 * self._blur * vectors.norm(dim=1, keepdim=True)
        seen = [
            np.unique(queries.rows[b:e]).astype(np.int64) for b, e in zip(queries.begin, queries.end, strict=True)
        ]
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

    def _best(self, queries: Queries, k: int, captured: CapturedSearch) -> Best:
        """`best` by the kernels; in PyTorch where more rows are candidates than they have room for."""
        found = empty(queries, len(self._table) - 1)
        answers = captured(queries, k)
        found.rows[:], found.scores[:] = answers.rows[:, :k], answers.scores[:, :k]
        found.found[:] = np.minimum((found.scores > -np.inf).sum(axis=1), queries.counts)
        crowded = np.flatnonzero(~answers.complete & (queries.counts > 0))
        if crowded.size:
            rest = self._search(queries.only(crowded), None)
            columns = rest.rows.shape[1]
            found.rows[crowded, :columns], found.scores[crowded, :columns] = rest.rows, rest.scores
            found.found[crowded] = rest.found
        return found

    def _search(self, queries: Queries, scale: Tensor | None) -> Best:
        found = empty(queries, len(self._table) - 1)
        k = found.rows.shape[1]
        if k == 0:
            return found
        together = max(1, _SCORES // len(self._table))
        for start in range(0, len(queries.counts), together):
            which = np.arange(start, min(start + together, len(queries.counts)))
            part = queries.only(which)
            vectors = torch.from_numpy(part.vectors).to(self._table.device)
            rough = self._score_all(part, vectors, scale)
            rows = candidates(rough, k, self._blur * vectors.norm(dim=1)).sort(dim=1).values
            scores = self._score(rows, vectors, scale).masked_fill_(rough.gather(1, rows) == -torch.inf, -torch.inf)
            ordered = scores.sort(dim=1, descending=True, stable=True)
            found.scores[which] = ordered.values[:, :k].cpu().numpy()
            found.rows[which] = rows.gather(1, ordered.indices)[:, :k].cpu().numpy()
        answers = (found.scores > -np.inf).sum(axis=1)
        found.found[:] = np.minimum(answers, queries.counts)
        return found

    def _score_all(self, queries: Queries, vectors: Tensor, scale: Tensor | None) -> Tensor:
        """Of every row for every query (Q, V + 1); -inf where the row is no answer."""
        scores = vectors @ self._table.T
        if scale is not None:
            scores *= scale
        scores[:, 0] = -torch.inf
        lengths = queries.end - queries.begin
        if lengths.any():
            whose = np.repeat(np.arange(len(lengths)), lengths)
            unwanted = [queries.rows[b:e] for b, e in zip(queries.begin, queries.end, strict=True)]
            rows = np.concatenate(unwanted).astype(np.int64)
            device = self._table.device
            scores[torch.from_numpy(whose).to(device), torch.from_numpy(rows).to(device)] = -torch.inf
        return scores

    def _score(self, rows: Tensor, vectors: Tensor, scale: Tensor | None) -> Tensor:
        """Of some rows (Q, C) for each query."""
        scores = (self._table[rows] * vectors[:, None]).sum(dim=2)
        return scores if scale is None else scores * scale[rows]


def candidates(scores: Tensor, k: int, blur: Tensor) -> Tensor:
    """The places (Q, C) of the `k` highest of each line of scores (Q, V), and of all less than blur (Q,) below these.

    Lines with fewer are filled with 0.
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


def _fast_search(table: Tensor) -> tuple[TopKSearch, CapturedSearch] | tuple[None, None]:
    """The kernels' search of this table, where they run and can."""
    if not kernels_run(table.device):
        return None, None
    from service.engine.cuda.captured_search import CapturedSearch
    from service.engine.cuda.topk_search import TopKSearch
    from service.engine.cuda.topk_table import supported

    if not supported(table):
        return None, None
    search = TopKSearch(table)
    return search, CapturedSearch(search)
