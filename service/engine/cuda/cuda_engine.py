"""CUDA engine: the network and the catalogue on a GPU.

Requests of at most one event are one pass of `RequestPipeline`, longer ones go through `ReplayStream`. Requests with
evaluated events, and everything on a CPU, take the way of `BundleEngine`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING, TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from model.bundle.bundle import Bundle
from model.compiled.array_types import I64
from model.state_layout import WORD_BYTES
from service.core.engine_requests import (
    EngineRequest,
    EngineResult,
    Query,
    RankCandidates,
    ScoredItem,
    TopK,
)
from service.core.errors import StateDamagedError
from service.engine.cuda.cuda_recurrence import CudaRecurrence, load_network
from service.engine.cuda.cuda_search import CudaSearch
from service.engine.cuda.device_table import ItemTable, SharedUse
from service.engine.cuda.replay_stream import Chunk, chunks_by_length
from service.engine.cuda.top_items import AnswerBatch, TopItems
from service.engine.engine import BundleEngine
from service.engine.id_index import IdIndex
from service.engine.known_items import KnownItems
from service.engine.state_codec import join_states

if TYPE_CHECKING:  # it needs Triton, which a CPU's torch does not bring
    from service.engine.cuda.request_pipeline import Advanced

# Appended items that the device has memory for at first: 64 MB with a width of 64.
ROOM = 1 << 18

_Results = list[EngineResult | StateDamagedError]
# One call in C; the constructor of a named tuple is one in Python.
_result = partial(tuple.__new__, EngineResult)


class CudaEngine(BundleEngine):
    """A loaded model on `device`; see core.ports.Engine, and `CpuEngine` for `seen_limit`."""

    def __init__(self, bundle: Bundle, seen_limit: int, device: str = "cuda", room: int = ROOM) -> None:
        """Prepare the model; `room` is for appended items."""
        self.network = load_network(bundle, torch.device(device))
        self._max_rows = max(seen_limit, bundle.config.conv_width - 1)
        self._trained_weights = self.network.item_embedding.weight.detach()
        self._batches = SharedUse()  # rows of the table change their meaning only between batches
        self._room = room if bundle.content is not None else 0
        super().__init__(bundle, *self._build())
        self._ids_by_row = ["", *(item.item_id for item in bundle.items)]
        self._ids = IdIndex(self._rows)

    def _build(self) -> tuple[CudaRecurrence, CudaSearch]:
        """Prepare kernels and graphs of a table with room for appended items."""
        self._table = ItemTable(self._trained_weights, self._room)
        self.network.item_embedding.weight = nn.Parameter(self._table.whole, requires_grad=False)
        search = CudaSearch(self._table)
        recurrence = CudaRecurrence(self.network, self._max_rows, search.kernels)
        self._stream, self._pipeline = recurrence.stream, recurrence.pipeline
        return recurrence, search

    def _append(self, known: KnownItems) -> None:
        """Copy appended items to the device, then let batches see them."""
        start = self._known.appended.count
        if known.appended.count > self._room:
            with self._batches.alone():  # takes seconds; once in ROOM items
                self._room = 2 * known.appended.count
                self._recurrence, self._search = self._build()
            start = 0
        self._table.write(known.appended, start)
        super()._append(known)

    def reset_extension(self) -> None:
        """Remove all appended items, when no batch needs them."""
        with self._batches.alone():
            super().reset_extension()

    def cost(self, requests: Sequence[EngineRequest]) -> float:
        """Always run in the engine thread, because GPU calls block."""
        return math.inf if requests else 0.0

    def run(self, requests: Sequence[EngineRequest]) -> _Results:
        """Replay and answer all requests as one batch; see core.ports.Engine."""
        with self._batches.shared():
            return self._run(requests)

    def _run(self, requests: Sequence[EngineRequest]) -> _Results:
        if self._pipeline is None or not requests:
            return super().run(requests)
        lengths = np.array([len(request.items) for request in requests], np.int64)
        evaluated = [bool(request.evaluated) for request in requests]
        if lengths.max() <= 1 and True not in evaluated:
            return self._run_short(requests)
        # Long histories with types or appended items are looked up event by event.
        by_event = [
            bool(request.types) or not self._known.appended.has_none_of(request.items) for request in requests
        ]
        plain = ~(np.array(evaluated) | (lengths > 1) & np.array(by_event))
        return _run_each(
            requests,
            (~plain, super().run),
            (plain & (lengths <= 1), self._run_short),
            (plain & (lengths > 1), self._run_long),
        )

    def _run_short(self, requests: Sequence[EngineRequest]) -> _Results:
        """Run requests of at most one event each."""
        pipeline, known, initial_state = self._pipeline, self._known, self._recurrence.initial_state
        assert pipeline is not None  # noqa: S101 - `run` has checked
        given = [request.state for request in requests]
        states = [initial_state if state is None else state for state in given]
        new = np.array(
            [
                known.row_of(request.items[0]) or 0 if request.items and not request.types else self._code(request)
                for request in requests
            ],
            np.int64,
        )
        sizes = np.fromiter(map(len, states), np.int64, len(states))
        words, found = sizes // WORD_BYTES, _Results()
        shaped = (sizes >= self._layout.float_bytes) & (sizes % WORD_BYTES == 0) & pipeline.fits(words)
        if self._room and shaped.all():  # the kernels take every row of the table for an item
            shaped = self._codec.valid(join_states(states), known.appended.last_row)
        if not shaped.all():  # not a state, or too long for the pipeline
            return _run_each(requests, (shaped, self._run_short), (~shaped, super().run))
        cold = (sizes == self._layout.float_bytes) & (new == 0)
        queries = [request.query for request in requests]
        for part in pipeline.parts(words):
            k, exclude_seen = self._searches(queries[part], cold[part], pipeline.answers)
            advanced = pipeline.advance(states[part], words[part], new[part], k, exclude_seen)
            found += self._collect(requests[part], advanced, k)
        return found

    def _code(self, request: EngineRequest) -> int:
        """Return the code of a request's only event, 0 for none."""
        codes = self._codes.of(request.items, request.types, self._known.row_of)
        return codes[0] if codes else 0

    def _searches(
        self, queries: Sequence[Query | None], cold: NDArray[np.bool_], most: int
    ) -> tuple[I64 | None, NDArray[np.bool_]]:
        """Return k and `exclude_seen` of the pipeline's search.

        k (Q,) is None if nobody asks for rows. Queries for more than `most` rows, with a filter or with exclusions of
        their own are not for the pipeline.
        """
        distinct = {queries[0]} if queries.count(queries[0]) == len(queries) else set(queries)
        limits = {query: query.k if _is_plain(query) and query.k <= most else 0 for query in distinct}
        excluding = {query: isinstance(query, TopK) and query.exclude_seen for query in distinct}
        if not any(limits.values()):
            return None, np.zeros(len(queries), np.bool_)
        if len(distinct) == 1:
            k, exclude_seen = np.full(len(queries), limits[queries[0]]), np.full(len(queries), excluding[queries[0]])
        else:
            k = np.fromiter(map(limits.__getitem__, queries), np.int64, len(queries))
            exclude_seen = np.fromiter(map(excluding.__getitem__, queries), np.bool_, len(queries))
        if not self._bundle.config.start_token:  # cold answers are by popularity
            k[cold] = 0
        return k, exclude_seen

    def _collect(self, requests: Sequence[EngineRequest], advanced: Advanced, k: I64 | None) -> _Results:
        """Return the results of one batch; answer what the pipeline has not."""
        M, states = len(requests), advanced.states
        items: list[Sequence[ScoredItem]] = [()] * M
        answered = np.zeros(M, np.bool_)
        if k is not None:
            lengths = np.minimum((advanced.rows > 0).sum(axis=1), k)
            answers = AnswerBatch(self._ids_by_row, advanced.rows, advanced.scores, lengths)
            items = list(map(TopItems, repeat(answers), range(M)))
            answered = (k > 0) & advanced.complete
        results: _Results = list(map(_result, zip(states, advanced.cold.tolist(), items, repeat((), M), strict=True)))
        for n in np.flatnonzero(~advanced.valid).tolist():
            results[n] = self._damaged(states[n])
        missing_answers = np.flatnonzero(~answered & advanced.valid).tolist()
        self._answer(requests, states, [n for n in missing_answers if requests[n].query is not None], results)
        return results

    def _answer(
        self, requests: Sequence[EngineRequest], states: Sequence[bytes], selected: Sequence[int], results: _Results
    ) -> None:
        """Answer some requests from their next states, in `results`."""
        known = self._known
        top_k = self._top_k(known, requests, states, selected)
        for n in selected:
            query = requests[n].query
            items = self._rank(known, query, states[n]) if isinstance(query, RankCandidates) else top_k.get(n, ())
            results[n] = EngineResult(states[n], self._is_cold(states[n]), items)

    def _run_long(self, requests: Sequence[EngineRequest]) -> _Results:
        """Run requests of several events each."""
        given, items, *_ = zip(*requests, strict=True)
        valid = np.ones(len(requests), np.bool_)
        if stored := [n for n, state in enumerate(given) if state is not None]:
            whole = [given[n] if len(given[n]) % WORD_BYTES == 0 else b"" for n in stored]
            valid[stored] = self._codec.valid(join_states(whole), self._known.appended.last_row)
        lengths, selected = np.fromiter(map(len, items), np.int64, len(items)), np.flatnonzero(valid)
        states = [self._recurrence.initial_state if state is None else state for state in given]
        advanced: list[list[int]] = []

        def chunks() -> Iterator[Chunk]:
            chosen = [selected[part] for part in chunks_by_length(lengths[selected])]
            histories = ([items[n] for n in users.tolist()] for users in chosen)
            for users, known in zip(chosen, self._ids.known_rows(histories), strict=True):
                changed = known.lengths > 0
                if changed.any():
                    advanced.append(users[changed].tolist())
                    yield Chunk([given[n] for n in advanced[-1]], known.rows, known.lengths[changed])

        for number, after in enumerate(self._stream.run(chunks())):
            for n, state in zip(advanced[number], after, strict=True):
                states[n] = state
        cold = (np.fromiter(map(len, states), np.int64, len(states)) == self._layout.float_bytes).tolist()
        results: _Results = list(map(_result, zip(states, cold, repeat(()), repeat(()), strict=False)))
        for n in np.flatnonzero(~valid).tolist():
            results[n] = self._damaged(states[n])
        self._answer(requests, states, [n for n in selected.tolist() if requests[n].query is not None], results)
        return results


def _run_each(
    requests: Sequence[EngineRequest],
    *ways: tuple[NDArray[np.bool_], Callable[[Sequence[EngineRequest]], _Results]],
) -> _Results:
    """Run each request in the way whose mask selects it."""
    results: dict[int, EngineResult | StateDamagedError] = {}
    for mask, run in ways:
        selected = np.flatnonzero(mask).tolist()
        if selected:
            results |= zip(selected, run([requests[n] for n in selected]), strict=True)
    return [results[n] for n in range(len(requests))]


def _is_plain(query: Query | None) -> TypeGuard[TopK]:
    """Return whether this is a top-k query without a filter and exclusions."""
    return isinstance(query, TopK) and query.allowed is None and not query.exclude
