"""One batch of requests on the device: one copy in, one captured CUDA graph, one copy out.

The graph advances packed states by at most one event each and searches the answers to the new states. There is one
for a few batch sizes; a smaller batch is padded with users that have no state.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from struct import Struct
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from model.state_layout import F32
from service.engine.cuda.cuda_graph import Mailbox, capture
from service.engine.cuda.fused_step import Advance, FusedStep
from service.engine.cuda.topk_search import ANSWERS, ROOM, Found, Seen, TopKSearch
from service.engine.state_codec_kernels import Index

SIZES = (1, 8, 64, 256, 1024)
_IN = 8  # numbers of a user before the states: begin, end, fresh, out_begin, out_end, count, seen_begin, seen_end
_OUT = 2 + 2 * ANSWERS  # sound, groups, rows, scores
_MOST_WORDS = 1 << 22  # 16 MB of states at a time, or one state


class Advanced(NamedTuple):
    """Results for M users: whether each state was sound, whether the next is cold, the next states, and answers.

    rows and scores (M, 16), best first, then row 0 and -inf; valid where `complete`. A state without rows is cold.
    """

    sound: NDArray[np.bool_]
    cold: NDArray[np.bool_]
    states: list[bytes]
    rows: NDArray[np.int32]
    scores: F32
    complete: NDArray[np.bool_]


class RequestPipeline:
    """Advances packed states of `floats` numbers and at most `kept` rows, and answers from them. Thread-safe."""

    def __init__(self, step: FusedStep, search: TopKSearch | None, floats: int, kept: int) -> None:
        self._step, self._search = step, search
        self._floats, self._kept = floats, kept
        self._lock = threading.Lock() if search is None else search.lock
        self._device = step.device
        words = max(min(SIZES[-1] * (floats + kept + 1), _MOST_WORDS), floats + kept + 1)
        self._capacity = words
        self.answers = ANSWERS
        self._inbox = Mailbox(_IN * SIZES[-1] + words, self._device)
        self._outbox = Mailbox(_OUT * SIZES[-1] + words + SIZES[-1], self._device)
        self._output = torch.zeros(SIZES[-1], step.width, device=self._device)
        self._graphs = {
            (size, searching): capture(partial(self._work, size, searching), self._device)
            for size in SIZES
            for searching in ((False, True) if search else (False,))
        }

    def parts(self, words: Index) -> list[slice]:
        """Batches that one call of `advance` takes, for users whose states have so many words."""
        if len(words) <= SIZES[-1] and int(words.sum()) <= self._capacity:
            return [slice(0, len(words))]
        found, start, total = [], 0, 0
        for n, size in enumerate(words.tolist()):
            if n > start and (n - start == SIZES[-1] or total + size > self._capacity):
                found.append(slice(start, n))
                start, total = n, 0
            total += size
        return [*found, slice(start, len(words))]

    def fits(self, words: Index) -> NDArray[np.bool_]:
        """Which states of so many words are short enough."""
        return words <= self._capacity

    def advance(
        self,
        states: Sequence[bytes],
        words: Index,
        fresh: Index,
        counts: Index | None = None,
        unseen: NDArray[np.bool_] | None = None,
    ) -> Advanced:
        """Replay row fresh[m] (0: none) for each user and find counts[m] answers, none already seen if unseen[m].

        Each state has words[m] words, at least the layout's numbers. Without `counts` nothing is searched.
        """
        M = len(states)
        size = next(size for size in SIZES if size >= M)
        moved = fresh > 0
        after = np.where(moved, self._floats + np.minimum(words - self._floats + 1, self._kept), words)
        end, out_end = _IN * size + np.cumsum(words), _OUT * size + np.cumsum(after)
        out_begin = out_end - after
        packed = b"".join(states)
        with self._lock:
            header = self._inbox.host[: _IN * size].reshape(_IN, size)
            header[:, M:] = 0
            for line, values in enumerate((end - words, end, fresh, out_begin, out_end)):
                header[line, :M] = values
            if counts is not None:
                header[5, :M] = counts
                header[6, :M] = out_end if unseen is None else np.where(unseen, out_begin + self._floats, out_end)
                header[7, :M] = out_end
            used = _IN * size + len(packed) // 4
            self._inbox.host[_IN * size : used] = np.frombuffer(packed, np.int32)
            self._inbox.upload(used)
            self._graphs[size, counts is not None]()
            self._outbox.download(int(out_end[-1]))
            return self._results(size, M, states, moved, after)

    def _results(
        self, size: int, M: int, states: Sequence[bytes], moved: NDArray[np.bool_], after: Index
    ) -> Advanced:
        out = self._outbox.host
        rows = out[2 * size : (2 + ANSWERS) * size].reshape(size, ANSWERS)[:M].copy()
        scores = out[(2 + ANSWERS) * size : _OUT * size].view(np.float32).reshape(size, ANSWERS)[:M].copy()
        layout = Struct("%ds" * M % tuple((4 * after).tolist()))
        found = layout.unpack_from(out, 4 * _OUT * size)
        sound = out[:M] > 0
        advanced = (moved & sound).tolist()
        following = list(found)
        if not all(advanced):
            following = [new if done else old for new, old, done in zip(found, states, advanced, strict=True)]
        return Advanced(sound, after == self._floats, following, rows, scores, out[size : size + M] <= ROOM)

    def _work(self, size: int, searching: bool) -> None:
        """Everything between the two copies."""
        inbox, out = self._inbox.device, self._outbox.device
        begin, end, fresh, out_begin, out_end, counts, seen_begin, seen_end = inbox[: _IN * size].view(_IN, size)
        output = self._output[:size]
        self._step(Advance(inbox, begin, end, fresh, out, out_begin, out_end, out[:size], output))
        if searching and self._search is not None:
            answers = Found(
                out[2 * size : (2 + ANSWERS) * size].view(size, ANSWERS),
                out[(2 + ANSWERS) * size : _OUT * size].view(torch.float32).view(size, ANSWERS),
                out[size : 2 * size],
            )
            self._search.search(output, counts, Seen(out, seen_begin, seen_end), out=answers)
