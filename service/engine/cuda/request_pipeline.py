"""One batch of requests on the device, as a CUDA graph.

A batch is one copy in, one graph and one copy out.

The graph advances packed states by at most one event each and searches the answers of the new states. There is one
graph for each of a few batch sizes; a smaller batch is padded with users without a state.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from struct import Struct
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from model.compiled.array_types import F32, I64
from model.state_layout import WORD_BYTES
from service.engine.cuda.cuda_graph import Mailbox, capture
from service.engine.cuda.fused_step import FusedStep, StepArguments
from service.engine.cuda.topk_search import ANSWERS, ROOM, Excluded, Found, TopKSearch
from service.engine.state_codec import ROW_MASK, TYPE_BITS

SIZES = (1, 8, 64, 256, 1024)
# Words of a user before the states: start, end, new row and type, start and end of the next state, k, excluded start
# and end.
_IN = 9
# Words of a user before the next states: valid, then those of `Found`.
_OUT = 1 + 2 * ANSWERS + 1
_STATE_WORDS = 1 << 22  # 16 MB of states at once, or one state


class Advanced(NamedTuple):
    """Results for M users.

    valid     (M,) whether the state was valid
    cold      (M,) whether the next state has no rows
    states    the next states; those given if not valid or without an event
    rows      (M, 16) best rows, best first, then 0
    scores    (M, 16) float32
    complete  (M,) whether the search had room; if not, rows and scores are not valid
    """

    valid: NDArray[np.bool_]
    cold: NDArray[np.bool_]
    states: list[bytes]
    rows: NDArray[np.int32]
    scores: F32
    complete: NDArray[np.bool_]


class RequestPipeline:
    """Pipeline of one model; thread-safe."""

    def __init__(self, step: FusedStep, search: TopKSearch, floats: int, max_rows: int) -> None:
        """Capture the graphs.

        A state has `floats` numbers and keeps at most `max_rows` rows.
        """
        self._step, self._search = step, search
        self._floats, self._max_rows = floats, max_rows
        self.answers = ANSWERS
        longest, most = floats + max_rows + 1, SIZES[-1]
        self._capacity = max(min(most * longest, _STATE_WORDS), longest)
        self._inbox = Mailbox(_IN * most + self._capacity, step.device)
        self._outbox = Mailbox(_OUT * most + self._capacity + most, step.device)
        self._output = torch.zeros(most, step.width, device=step.device)
        self._graphs = {
            (size, searching): capture(partial(self._run, size, searching), step.device)
            for size in SIZES
            for searching in (False, True)
        }

    def fits(self, words: I64) -> NDArray[np.bool_]:
        """Return which states of so many words are short enough."""
        return words <= self._capacity

    def parts(self, words: I64) -> list[slice]:
        """Split users whose states have so many words into batches for `advance`."""
        if len(words) <= SIZES[-1] and int(words.sum()) <= self._capacity:
            return [slice(0, len(words))]
        found, start, total = [], 0, 0
        for n, size in enumerate(words.tolist()):
            if n > start and (n - start == SIZES[-1] or total + size > self._capacity):
                found.append(slice(start, n))
                start, total = n, 0
            total += size
        return [*found, slice(start, len(words))]

    def advance(
        self,
        states: Sequence[bytes],
        words: I64,
        new: I64,
        k: I64 | None = None,
        exclude_seen: NDArray[np.bool_] | None = None,
    ) -> Advanced:
        """Advance and query M users, one batch of `parts`.

        Args:
            states: packed states, each at least the numbers long.
            words: (M,) their lengths.
            new: (M,) the code of each user's event (see `state_codec`); 0 is none.
            k: (M,) how many rows each user asks for, at most 16; None searches nothing.
            exclude_seen: (M,) whether to exclude the rows of the next state.
        """
        M = len(states)
        size = next(size for size in SIZES if size >= M)
        new_rows, known = new & ROW_MASK, words - self._floats
        after = self._floats + np.where(new_rows > 0, np.minimum(known + 1, self._max_rows), known)
        end, out_end = _IN * size + np.cumsum(words), _OUT * size + np.cumsum(after)
        out_start = out_end - after
        packed = b"".join(states)
        with self._search.lock:
            header = self._inbox.host[: _IN * size].reshape(_IN, size)
            header[:, M:] = 0
            for line, values in enumerate((end - words, end, new_rows, new >> TYPE_BITS, out_start, out_end)):
                header[line, :M] = values
            if k is not None:
                header[6, :M] = k
                header[7, :M] = (
                    out_end if exclude_seen is None else np.where(exclude_seen, out_start + self._floats, out_end)
                )
                header[8, :M] = out_end
            used = _IN * size + len(packed) // WORD_BYTES
            self._inbox.host[_IN * size : used] = np.frombuffer(packed, np.int32)
            self._inbox.upload(used)
            self._graphs[size, k is not None]()
            self._outbox.download(int(out_end[-1]))
            return self._results(size, states, new_rows > 0, after)

    def _results(self, size: int, states: Sequence[bytes], advanced: NDArray[np.bool_], after: I64) -> Advanced:
        M, out = len(states), self._outbox.host
        valid = out[:M] > 0
        rows, scores = out[size : (1 + ANSWERS) * size], out[(1 + ANSWERS) * size : (1 + 2 * ANSWERS) * size]
        groups = out[(1 + 2 * ANSWERS) * size :][:M]
        layout = Struct("%ds" * M % tuple((WORD_BYTES * after).tolist()))
        following = list(layout.unpack_from(out.data, WORD_BYTES * _OUT * size))
        changed = (advanced & valid).tolist()
        if not all(changed):
            following = [new if use else old for new, old, use in zip(following, states, changed, strict=True)]
        return Advanced(
            valid,
            after == self._floats,
            following,
            rows.reshape(size, ANSWERS)[:M].copy(),
            scores.view(np.float32).reshape(size, ANSWERS)[:M].copy(),
            groups <= ROOM,
        )

    def _run(self, size: int, searching: bool) -> None:
        """Work between the two copies."""
        inbox, out = self._inbox.device, self._outbox.device
        header = inbox[: _IN * size].view(_IN, size)
        start, end, new_row, new_type, out_start, out_end, k, excluded_start, excluded_end = header
        output = self._output[:size]
        self._step(StepArguments(inbox, start, end, new_row, new_type, out, out_start, out_end, out[:size], output))
        if searching:
            excluded = Excluded(out, excluded_start, excluded_end)
            self._search.search(output, k, excluded, out=Found.of(out[size : _OUT * size], ANSWERS))
