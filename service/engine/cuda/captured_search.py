"""`TopKSearch` of arrays in the host's memory: one copy in, one captured CUDA graph, one copy out."""

from __future__ import annotations

from functools import cache, partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from model.state_layout import F32
from service.engine.cuda.cuda_graph import Mailbox, capture
from service.engine.cuda.topk_search import ANSWERS, ROOM, Found, Seen, TopKSearch
from service.engine.search.exact import Queries

_SIZES = (1, 16, 64, 256, 1024)
_MOST_SEEN = 1 << 20


class Answers(NamedTuple):
    """Rows and scores (Q, K), best first, then row 0 and -inf; complete (Q,): whether the answer is valid."""

    rows: NDArray[np.int32]
    scores: F32
    complete: NDArray[np.bool_]


class CapturedSearch:
    """Searches by `search`. Graphs are captured when a batch size is first asked for. Thread-safe."""

    def __init__(self, search: TopKSearch) -> None:
        self._search, self._D = search, search.table.shape[1]
        device = search.table.device
        self._inbox = Mailbox(_SIZES[-1] * (self._D + 3) + _MOST_SEEN, device)
        self._outbox = Mailbox(_SIZES[-1] * (2 * ANSWERS + 1), device)
        self._graph = cache(lambda size, seen: capture(partial(self._work, size, seen), device))

    @torch.inference_mode()
    def __call__(self, queries: Queries, k: int) -> Answers:
        """The `k` best rows of each query."""
        Q = len(queries.counts)
        lengths = queries.end - queries.begin
        if k > ANSWERS or Q > _SIZES[-1] or int(lengths.sum()) > _MOST_SEEN:
            return self._launch(queries, k)
        size = next(size for size in _SIZES if size >= Q)
        rows = _joined(queries)
        end = np.cumsum(lengths)
        start, vectors = (self._D + 3) * size, self._D * size
        with self._search.lock:
            host = self._inbox.host
            host[:vectors].view(np.float32).reshape(size, self._D)[:Q] = queries.vectors
            header = host[vectors:start].reshape(3, size)
            header[:, Q:] = 0
            header[:, :Q] = queries.counts, start + end - lengths, start + end
            host[start : start + len(rows)] = rows.view(np.int32)
            self._inbox.upload(start + len(rows))
            self._graph(size, len(rows) > 0)()
            self._outbox.download((2 * ANSWERS + 1) * size)
            return _answers(self._outbox.host[: (2 * ANSWERS + 1) * size].copy(), size, ANSWERS, ROOM, Q)

    def _work(self, size: int, seen: bool) -> None:
        inbox, out = self._inbox.device, self._outbox.device
        counts, begin, end = inbox[self._D * size : (self._D + 3) * size].view(3, size)
        vectors = inbox[: self._D * size].view(torch.float32).view(size, self._D)
        scores = out[ANSWERS * size : 2 * ANSWERS * size].view(torch.float32)
        found = Found(out[: ANSWERS * size].view(size, ANSWERS), scores.view(size, ANSWERS), out[2 * ANSWERS * size :][:size])
        self._search.search(vectors, counts, Seen(inbox, begin, end) if seen else None, out=found)

    def _launch(self, queries: Queries, k: int) -> Answers:
        """The same without a graph, for any size."""
        Q, device = len(queries.counts), self._search.table.device
        vectors = torch.from_numpy(np.ascontiguousarray(queries.vectors)).to(device)
        lengths = queries.end - queries.begin
        rows, end = _joined(queries), np.cumsum(lengths)
        counts, start, stop = torch.from_numpy(np.stack([queries.counts, end - lengths, end])).to(device)
        seen = Seen(torch.from_numpy(rows.view(np.int32)).to(device), start, stop) if len(rows) else None
        width, room = max(ANSWERS, 1 << (k - 1).bit_length()), self._search.room_for(k)
        whole = torch.empty(Q * (2 * width + 1), dtype=torch.int32, device=device)
        scores = whole[Q * width : 2 * Q * width].view(torch.float32).view(Q, width)
        found = Found(whole[: Q * width].view(Q, width), scores, whole[2 * Q * width :])
        with self._search.lock:
            self._search.search(vectors, counts, seen, room=room, out=found)
            return _answers(whole.cpu().numpy(), Q, width, room, Q)


def _joined(queries: Queries) -> NDArray[np.uint32]:
    """The unwanted rows of all queries, end to end."""
    if not (queries.end > queries.begin).any():
        return np.empty(0, np.uint32)
    return np.concatenate([queries.rows[b:e] for b, e in zip(queries.begin, queries.end, strict=True)])


def _answers(words: NDArray[np.int32], size: int, width: int, room: int, Q: int) -> Answers:
    rows, scores = words[: size * width], words[size * width : 2 * size * width].view(np.float32)
    groups = words[2 * size * width :]
    return Answers(rows.reshape(size, width)[:Q], scores.reshape(size, width)[:Q], groups[:Q] <= room)
