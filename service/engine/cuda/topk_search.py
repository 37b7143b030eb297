"""Exact top-k in two passes: float16 bounds of all rows, then exact float32 scores of those that can matter.

Pass 1 reads a float16 copy of the table and bounds each group of 32 rows: a rough score differs from the exact one by
at most the group's blur (`topk_table`). Let T be the k-th largest lower bound of disjoint spans: k different rows have
an exact score of at least T. A row of the answer, ties included, therefore has an exact score of at least T, and the
upper bound of its group reaches T. Pass 2 scores every row of those groups exactly, each by itself. Nothing is left
out; a query with more candidate groups than there is room for is reported and must be searched otherwise.
"""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

import torch
from torch import Tensor

from service.engine.cuda.kernels import bounds_kernels, rescoring_kernels
from service.engine.cuda.topk_table import GROUP, half_table, no_rows

TILE = 128
MAX_SPANS = 8192
ROOM = 32  # candidate groups of a query
ANSWERS = 16  # rows of a query
MOST_ANSWERS = 1024
_BOUNDS_FLOATS = 1 << 27  # upper bounds that are in memory at once: half a gigabyte


class Seen(NamedTuple):
    """Rows that queries must not get: query q not rows[begin[q] : end[q]], int32 and int64 tensors."""

    rows: Tensor
    begin: Tensor
    end: Tensor


class Filters(NamedTuple):
    """Bitmaps (F, words) int32 of allowed rows, and which one holds for each query (Q,) int32; -1 for none."""

    bitmaps: Tensor
    chosen: Tensor


class Found(NamedTuple):
    """rows (Q, K) int32 and scores (Q, K), best first, then row 0 and -inf; groups (Q,): candidates of each query.

    Where groups[q] is more than the room, the answer of query q is not valid.
    """

    rows: Tensor
    scores: Tensor
    groups: Tensor


class TopKSearch:
    """Search of a table (V + 1, D) of finite float32 numbers; row 0 is no answer. Not thread-safe."""

    def __init__(self, table: Tensor, most_queries: int = 1024) -> None:
        self.table, self.lock = table, threading.Lock()  # held by whoever searches: the buffers are shared
        rows, D = table.shape
        self.groups = -(-rows // GROUP)
        self.by_group = self.groups <= MAX_SPANS
        self._tile = TILE if self.by_group or D > 64 else 2 * TILE
        tiles = -(-rows // self._tile)
        self._tiles = 1 if self.by_group else -(-tiles // MAX_SPANS)
        self._programs = -(-tiles // self._tiles)
        self.spans = self.groups if self.by_group else self._programs
        self.words = self._programs * self._tiles * (self._tile // GROUP)
        self._width = max(16, 1 << (D - 1).bit_length())
        self._lanes = min(5, D.bit_length() - 1)
        self._halves, self._blurs, self._longest, self._tiny = half_table(table, self.words * GROUP, self._width)
        most = max(64, _BOUNDS_FLOATS // self.groups // 64 * 64)
        self.together = min(most, -(-most_queries // 16) * 16)
        self._buffers = self._allocate(self.together)

    def room_for(self, k: int) -> int:
        """How many candidate groups are wanted for `k` answers: some more than there should be."""
        return max(ROOM, 1 << (2 * k + 7).bit_length())

    def answers(self, k: int) -> bool:
        """Whether a search for `k` answers mostly has room for its candidates."""
        return 0 < k <= MOST_ANSWERS and (k <= self.spans // 4 or self.groups <= ROOM)

    def search(
        self,
        vectors: Tensor,
        counts: Tensor,
        seen: Seen | None = None,
        filters: Filters | None = None,
        *,
        out: Found,
        room: int = ROOM,
    ) -> None:
        """Write the best rows for each of vectors (Q, D), of which query q wants the first counts[q], to `out`.

        The columns of `out` and `room` are powers of two. Rows behind the wanted ones may be missing. Hold `lock`.
        """
        for first in range(0, len(vectors), self.together):
            part = slice(first, first + self.together)
            unwanted = seen and Seen(seen.rows, seen.begin[part], seen.end[part])
            allowed = filters and Filters(filters.bitmaps, filters.chosen[part])
            found = Found(*(tensor[part] for tensor in out))
            self._search(vectors[part], counts[part], unwanted, allowed, found, room)

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
        self, vectors: Tensor, counts: Tensor, seen: Seen | None, filters: Filters | None, found: Found, room: int
    ) -> None:
        Q, D = vectors.shape
        own, device, groups = self._buffers, vectors.device, found.groups
        bounds_kernels.prepare_kernel[(Q,)](
            vectors, vectors.stride(0), own["halves"], own["norms"], own["slacks"], groups, self._longest, self._tiny,
            D=D, WIDTH=self._width, num_warps=1,
        )  # fmt: skip
        if seen is not None:
            self._mark(seen, Q, clear=False)
        masks = (own["blocked"], *(filters or (groups, groups)))
        flags = {"BLOCKED": seen is not None, "FILTERED": filters is not None}
        self._bounds(Q, masks, flags)
        bounds_kernels.threshold_kernel[(Q,)](
            own["low"], counts, own["thresholds"], self.spans,
            BLOCK=max(16, 1 << (self.spans - 1).bit_length()), num_warps=8,
        )  # fmt: skip
        candidates = torch.empty(Q, room, dtype=torch.int32, device=device)
        self._list(Q, groups, candidates, room)
        keys = torch.empty(Q, room * GROUP, dtype=torch.int64, device=device)
        rescoring_kernels.rescore_kernel[(Q, room // 4)](
            self.table, vectors, vectors.stride(0), *masks, groups, candidates, keys, len(self.table), self.words,
            room, **flags, D=D, LOG_LANES=self._lanes, GROUPS=4, num_warps=4, enable_fp_fusion=False,
        )  # fmt: skip
        if seen is not None:
            self._mark(seen, Q, clear=True)
        self._order(keys, found, room)

    def _mark(self, seen: Seen, queries: int, clear: bool) -> None:
        bounds_kernels.mark_kernel[(queries, 4)](
            self._buffers["blocked"], self.words, seen.rows, seen.begin, seen.end, len(self.table),
            CLEAR=clear, BLOCK=128, num_warps=4,
        )  # fmt: skip

    def _bounds(self, queries: int, masks: tuple[Tensor, ...], flags: dict[str, Any]) -> None:
        own = self._buffers
        block = 16 if queries <= 16 else 64
        blocks = -(-queries // block)
        bounds_kernels.bounds_kernel[(self._programs * blocks,)](
            self._halves, self._blurs, own["halves"], own["norms"], own["slacks"], *masks, own["upper"], own["low"],
            own["high"], queries, blocks, self.groups, self.spans, self.words, self._tiles, **flags,
            BY_GROUP=self.by_group, QUERIES=block, ROWS=self._tile, WIDTH=self._width, num_warps=4, num_stages=3,
        )  # fmt: skip

    def _list(self, queries: int, groups: Tensor, candidates: Tensor, room: int) -> None:
        own = self._buffers
        if self.by_group:
            bounds_kernels.listed_groups_kernel[(queries, -(-self.groups // 1024))](
                own["upper"], own["thresholds"], groups, candidates, self.groups, room, GROUPS=1024, num_warps=4
            )
            return
        per = self._tiles * (self._tile // GROUP)
        bounds_kernels.candidates_kernel[(queries, -(-self.spans // 64))](
            own["upper"], own["high"], own["thresholds"], groups, candidates, self.groups, self.spans, per, room,
            SPANS=64, GROUPS=1 << (per - 1).bit_length(), num_warps=1,
        )  # fmt: skip

    def _order(self, keys: Tensor, found: Found, room: int) -> None:
        Q, K = found.rows.shape
        if room * GROUP <= 2048:  # what a program sorts
            rescoring_kernels.order_kernel[(Q,)](
                keys, found.groups, found.rows, found.scores, room, K=K, BLOCK=room * GROUP, num_warps=4
            )
            return
        beyond = torch.arange(room, device=keys.device) >= found.groups[:, None]
        keys.view(Q, room, GROUP).masked_fill_(beyond[:, :, None], torch.iinfo(torch.int64).min)
        best = torch.topk(keys, K, sorted=True).values.contiguous()
        rescoring_kernels.unpack_kernel[(Q,)](best, found.rows, found.scores, K=K, num_warps=4)
