"""Exact top-k in two passes over a table.

Pass 1 reads a float16 copy of the table and bounds each group of 32 rows: a rough score differs from the exact one
by at most the group's blur (`device_table`). Let T be the k-th largest lower bound of disjoint spans of rows: k
different rows have an exact score of at least T. A row of the result, ties included, therefore has an exact score of
at least T, and the upper bound of its group reaches T. Pass 2 scores every row of those groups exactly, each by
itself. Nothing is missed; a query with more candidate groups than there is room for is reported and must be searched
otherwise.
"""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

import torch
from torch import Tensor

from service.engine.cuda.device_table import GROUP, half_table, no_rows
from service.engine.cuda.kernels import topk_bounds_kernels, topk_rescoring_kernels

ANSWERS = 16  # rows of a query
MAX_ANSWERS = 1024
ROOM = 32  # candidate groups of a query
_TILE = 128
_MAX_SPANS = 8192
_UPPER_BOUNDS = 1 << 27  # in memory at once: half a gigabyte


class Excluded(NamedTuple):
    """Excluded rows: rows[start[q] : end[q]] for query q."""

    rows: Tensor
    start: Tensor
    end: Tensor


class Filters(NamedTuple):
    """Bitmaps of allowed rows.

    bitmaps  (F, words) int32
    chosen   (Q,) int32: the bitmap of each query; -1 is none
    """

    bitmaps: Tensor
    chosen: Tensor


class Found(NamedTuple):
    """Results of Q queries in one piece of memory.

    rows    (Q, K) int32, best first, then 0
    scores  (Q, K) float32, then -inf
    groups  (Q,) int32: candidate groups; if more than the room, the line is not valid
    """

    rows: Tensor
    scores: Tensor
    groups: Tensor

    @classmethod
    def of(cls, words: Tensor, columns: int) -> Found:
        """Return the parts of int32 `words`, 2 K + 1 per query."""
        Q = len(words) // (2 * columns + 1)
        scores = words[Q * columns : 2 * Q * columns].view(torch.float32)
        return cls(words[: Q * columns].view(Q, columns), scores.view(Q, columns), words[2 * Q * columns :])


class TopKSearch:
    """Exact top-k search of a table (V + 1, D).

    Row 0 is never found. Hold `lock` during a search and until its results are read.
    """

    def __init__(self, table: Tensor, max_queries: int = 1024) -> None:
        self.table, self.lock = table, threading.Lock()
        rows, D = table.shape
        self.groups = -(-rows // GROUP)
        self.by_group = self.groups <= _MAX_SPANS
        self._tile = _TILE if self.by_group or D > 64 else 2 * _TILE
        tiles = -(-rows // self._tile)
        self._tiles = 1 if self.by_group else -(-tiles // _MAX_SPANS)
        self._programs = -(-tiles // self._tiles)
        self.spans = self.groups if self.by_group else self._programs
        self.words = self._programs * self._tiles * (self._tile // GROUP)
        self._width = max(16, 1 << (D - 1).bit_length())
        self._half = half_table(table, self.words * GROUP, self._width)
        most = max(64, _UPPER_BOUNDS // self.groups // 64 * 64)
        self.together = min(most, -(-max_queries // 16) * 16)
        self._buffers = self._allocate(self.together)

    def room_for(self, k: int) -> int:
        """Return the room for candidate groups of `k` results.

        It is about twice what is usually needed.
        """
        return max(ROOM, 1 << (2 * k + 7).bit_length())

    def answers(self, k: int) -> bool:
        """Return whether `k` results usually leave room for the candidates."""
        return 0 < k <= MAX_ANSWERS and (k <= self.spans // 4 or self.groups <= ROOM)

    def search(
        self,
        vectors: Tensor,
        k: Tensor,
        excluded: Excluded | None = None,
        filters: Filters | None = None,
        *,
        out: Found,
        room: int = ROOM,
    ) -> None:
        """Write the best rows of each query to `out`.

        Args:
            vectors: (Q, D) float32.
            k: (Q,) how many rows each query asks for, at most the columns of `out`; more may be written.
            excluded: the rows that each query excludes.
            filters: the rows that each query allows.
            out: where the results go; its columns are a power of two.
            room: candidate groups of a query; a power of two.
        """
        for first in range(0, len(vectors), self.together):
            part = slice(first, first + self.together)
            own = excluded and Excluded(excluded.rows, excluded.start[part], excluded.end[part])
            allowed = filters and Filters(filters.bitmaps, filters.chosen[part])
            self._search(vectors[part], k[part], own, allowed, Found(*(tensor[part] for tensor in out)), room)

    def _allocate(self, queries: int) -> dict[str, Tensor]:
        device = self.table.device

        def floats(*shape: int) -> Tensor:
            return torch.empty(shape, device=device)

        blocked = torch.zeros(queries, self.words, dtype=torch.int32, device=device)
        blocked |= no_rows(self.words, len(self.table), device)
        return {
            "halves": torch.empty(queries, self._width, dtype=torch.float16, device=device),
            "norms": floats(queries),
            "slacks": floats(queries),
            "thresholds": floats(queries),
            "upper": floats(queries, self.groups),
            "low": floats(queries, self.spans),
            "high": floats(queries, 1 if self.by_group else self.spans),
            "blocked": blocked,
        }

    def _search(
        self, vectors: Tensor, k: Tensor, excluded: Excluded | None, filters: Filters | None, out: Found, room: int
    ) -> None:
        (Q, D), own, groups = vectors.shape, self._buffers, out.groups
        topk_bounds_kernels.prepare_kernel[(Q,)](
            vectors, vectors.stride(0), own["halves"], own["norms"], own["slacks"], groups, self._half.longest,
            self._half.tiny, D=D, WIDTH=self._width, num_warps=1,
        )  # fmt: skip
        if excluded is not None:
            self._mark(excluded, Q, clear=False)
        masks = (own["blocked"], *(filters or (groups, groups)))
        flags = {"BLOCKED": excluded is not None, "FILTERED": filters is not None}
        self._bound(Q, masks, flags)
        topk_bounds_kernels.threshold_kernel[(Q,)](
            own["low"], k, own["thresholds"], self.spans,
            BLOCK=max(16, 1 << (self.spans - 1).bit_length()), num_warps=8,
        )  # fmt: skip
        candidates = torch.empty(Q, room, dtype=torch.int32, device=vectors.device)
        self._list(Q, groups, candidates, room)
        keys = torch.empty(Q, room * GROUP, dtype=torch.int64, device=vectors.device)
        topk_rescoring_kernels.rescore_kernel[(Q, room // 4)](
            self.table, vectors, vectors.stride(0), *masks, groups, candidates, keys, len(self.table), self.words,
            room, **flags, D=D, LOG_LANES=min(5, D.bit_length() - 1), GROUPS=4, num_warps=4, enable_fp_fusion=False,
        )  # fmt: skip
        if excluded is not None:
            self._mark(excluded, Q, clear=True)
        _order(keys, out, room)

    def _mark(self, excluded: Excluded, queries: int, clear: bool) -> None:
        """Set or clear the bits of excluded rows."""
        topk_bounds_kernels.mark_kernel[(queries, 4)](
            self._buffers["blocked"], self.words, *excluded, len(self.table), CLEAR=clear, BLOCK=128, num_warps=4
        )

    def _bound(self, queries: int, masks: tuple[Tensor, ...], flags: dict[str, Any]) -> None:
        """Bound the scores of all groups and spans."""
        own, half = self._buffers, self._half
        block = 16 if queries <= 16 else 64
        blocks = -(-queries // block)
        topk_bounds_kernels.bounds_kernel[(self._programs * blocks,)](
            half.halves, half.blurs, own["halves"], own["norms"], own["slacks"], *masks, own["upper"], own["low"],
            own["high"], queries, blocks, self.groups, self.spans, self.words, self._tiles, **flags,
            BY_GROUP=self.by_group, QUERIES=block, ROWS=self._tile, WIDTH=self._width, num_warps=4, num_stages=3,
        )  # fmt: skip

    def _list(self, queries: int, groups: Tensor, candidates: Tensor, room: int) -> None:
        """List the groups that reach the thresholds, and count them."""
        own = self._buffers
        if self.by_group:
            topk_bounds_kernels.listed_groups_kernel[(queries, -(-self.groups // 1024))](
                own["upper"], own["thresholds"], groups, candidates, self.groups, room, GROUPS=1024, num_warps=4
            )
            return
        per = self._tiles * (self._tile // GROUP)
        topk_bounds_kernels.candidates_kernel[(queries, -(-self.spans // 64))](
            own["upper"], own["high"], own["thresholds"], groups, candidates, self.groups, self.spans, per, room,
            SPANS=64, GROUPS=1 << (per - 1).bit_length(), num_warps=1,
        )  # fmt: skip


def _order(keys: Tensor, out: Found, room: int) -> None:
    """Write the rows and scores of the largest keys."""
    Q, K = out.rows.shape
    if room * GROUP <= 2048:  # what one program sorts
        topk_rescoring_kernels.order_kernel[(Q,)](
            keys, out.groups, out.rows, out.scores, room, K=K, BLOCK=room * GROUP, num_warps=4
        )
        return
    unused = torch.arange(room, device=keys.device) >= out.groups[:, None]
    keys.view(Q, room, GROUP).masked_fill_(unused[:, :, None], torch.iinfo(torch.int64).min)
    best = torch.topk(keys, K, sorted=True).values.contiguous()
    topk_rescoring_kernels.unpack_kernel[(Q,)](best, out.rows, out.scores, K=K, num_warps=4)
