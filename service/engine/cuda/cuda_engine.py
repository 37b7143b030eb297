"""The engine on a CUDA device. Only this room imports torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import repeat
from operator import itemgetter
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from model.bundle.bundle import Bundle
from model.network import RecBLR
from service.core.engine_requests import EngineRequest, EngineResult, RankCandidates, ScoredItem, StateDamagedError, TopK
from service.engine.cuda.cuda_recurrence import CudaRecurrence
from service.engine.cuda.cuda_search import CudaSearch
from service.engine.cuda.replay_stream import Chunk, chunks_by_length
from service.engine.cuda.top_items import AnswerBatch, ItemColumns, TopItems
from service.engine.engine import BundleEngine
from service.engine.state_codec import join
from service.engine.state_codec_kernels import Index

if TYPE_CHECKING:  # it needs Triton, which is not everywhere where torch is
    from service.engine.cuda.request_pipeline import Advanced

_Results = list[EngineResult | StateDamagedError]
# A named tuple made by its constructor costs a call of Python; this is one of C.
_result = partial(tuple.__new__, EngineResult)


class CudaEngine(BundleEngine):
    """A loaded model on `device`; see core.ports.Engine, and `CpuEngine` for `seen_limit`."""

    def __init__(self, bundle: Bundle, seen_limit: int, device: str = "cuda") -> None:
        self.network = _network(bundle, torch.device(device))
        search = CudaSearch(self.network.item_embedding.weight.detach())
        kept = max(seen_limit, bundle.config.conv_width - 1)
        self._recurrence = CudaRecurrence(self.network, kept, search.fast)
        super().__init__(bundle, self._recurrence, search)
        self._columns = ItemColumns.of(bundle.items)
        self._row_bytes = {item_id: row.to_bytes(4, "little") for item_id, row in self._rows.items()}

    def cost(self, requests: Sequence[EngineRequest]) -> float:
        """Always run in the engine's thread: calls of a device block; see core.ports.Engine."""
        return math.inf if requests else 0.0

    def run(self, requests: Sequence[EngineRequest]) -> _Results:
        """Replay and answer all requests as one batch; see core.ports.Engine."""
        if self._recurrence.pipeline is None:
            return super().run(requests)
        if not requests:
            return []
        _, items, _, evaluated = zip(*requests, strict=True)
        lengths = np.fromiter(map(len, items), np.int64, len(items))
        if not any(evaluated) and lengths.max() <= 1:
            return self._run_short(requests)
        plain = np.fromiter(map(len, evaluated), np.int64, len(items)) == 0
        return _each(
            requests,
            (~plain, super().run),
            (plain & (lengths <= 1), self._run_short),
            (plain & (lengths > 1), self._run_long),
        )

    def _run_short(self, requests: Sequence[EngineRequest]) -> _Results:
        """Requests of at most one event each."""
        known, new_history, pipeline = self._rows, self._recurrence.new_history, self._recurrence.pipeline
        assert pipeline is not None  # noqa: S101 - `run` has looked
        given, items, asks, _ = zip(*requests, strict=True)
        states = [new_history if state is None else state for state in given] if None in given else given
        fresh = np.array([known.get(item[0], 0) if item else 0 for item in items], np.int64)
        sizes = np.fromiter(map(len, states), np.int64, len(states))
        shaped = (sizes >= 4 * self._recurrence.floats) & (sizes % 4 == 0) & pipeline.fits(sizes // 4)
        if not shaped.all():  # some are no states, or longer than the pipeline takes
            return _each(requests, (shaped, self._run_short), (~shaped, super().run))
        found: _Results = []
        for part in pipeline.parts(sizes // 4):
            counts, unseen = self._wanted(asks[part], sizes[part], fresh[part], pipeline.answers)
            advanced = pipeline.advance(states[part], sizes[part] // 4, fresh[part], counts, unseen)
            found += self._collect(requests[part], advanced, counts)
        return found

    def _wanted(
        self, asks: tuple[TopK | RankCandidates | None, ...], sizes: Index, fresh: Index, most: int
    ) -> tuple[Index | None, NDArray[np.bool_]]:
        """How many answers each user gets from the pipeline, None if nobody gets any; and who none already seen."""
        distinct = {asks[0]} if asks.count(asks[0]) == len(asks) else set(asks)
        counts = {ask: ask.k if isinstance(ask, TopK) and ask.k <= most else 0 for ask in distinct}
        unseen = {ask: isinstance(ask, TopK) and ask.exclude_seen for ask in distinct}
        if not any(counts.values()):
            return None, np.zeros(len(asks), np.bool_)
        if len(distinct) == 1:
            wanted, new_only = np.full(len(asks), counts[asks[0]]), np.full(len(asks), unseen[asks[0]])
        else:
            wanted = np.fromiter(map(counts.__getitem__, asks), np.int64, len(asks))
            new_only = np.fromiter(map(unseen.__getitem__, asks), np.bool_, len(asks))
        if not self._bundle.config.start_token:  # a cold answer is by popularity
            wanted[(sizes == 4 * self._recurrence.floats) & (fresh == 0)] = 0
        return wanted, new_only

    def _collect(self, requests: Sequence[EngineRequest], advanced: Advanced, counts: Index | None) -> _Results:
        """Results of one batch of the pipeline; what it could not answer is answered here."""
        M, states = len(requests), advanced.states
        cold = advanced.cold.tolist()
        answered = np.zeros(M, np.bool_) if counts is None else (counts > 0) & advanced.complete
        items: list[Sequence[ScoredItem]] = [()] * M
        if counts is not None:
            found = np.minimum((advanced.rows > 0).sum(axis=1), counts)
            batch = AnswerBatch(self._columns, advanced.rows, advanced.scores, found)
            items = list(map(TopItems, repeat(batch), range(M)))
        for n in np.flatnonzero(~answered).tolist():
            items[n] = ()
        results: _Results = list(map(_result, zip(states, cold, items, repeat((), M), strict=True)))
        for n in np.flatnonzero(~advanced.sound).tolist():
            results[n] = self._damaged(states[n])
        rest = [n for n in np.flatnonzero(~answered & advanced.sound).tolist() if requests[n].ask is not None]
        self._answer(requests, states, rest, results)
        return results

    def _answer(
        self, requests: Sequence[EngineRequest], states: Sequence[bytes], which: Sequence[int], results: _Results
    ) -> None:
        """Answer some requests from their next states."""
        if not which:
            return
        best = self._best(requests, states, which)
        for n in which:
            ask, result = requests[n].ask, results[n]
            items = self._rank(ask, states[n]) if isinstance(ask, RankCandidates) else best.get(n, ())
            if isinstance(result, EngineResult):
                results[n] = result._replace(items=items)

    def _run_long(self, requests: Sequence[EngineRequest]) -> _Results:
        """Requests of several events each."""
        recurrence, M = self._recurrence, len(requests)
        states = [recurrence.new_history if request[0] is None else request[0] for request in requests]
        given = [n for n in range(M) if requests[n][0] is not None]
        sound = np.ones(M, np.bool_)
        if given:
            sound[given] = recurrence.sound(join([states[n] if len(states[n]) % 4 == 0 else b"" for n in given]))
        lengths = np.fromiter(map(len, map(itemgetter(1), requests)), np.int64, M)
        chosen = np.flatnonzero(sound)
        batches = [chosen[part] for part in chunks_by_length(lengths[chosen])]
        moved: list[list[int]] = []

        def chunks() -> Iterator[Chunk]:
            for batch in batches:
                rows = [self._rows_of(requests[n][1]) for n in batch.tolist()]
                users = [n for n, row in zip(batch.tolist(), rows, strict=True) if row]
                if users:
                    moved.append(users)
                    yield Chunk([states[n] for n in users], [row for row in rows if row])

        for number, after in enumerate(recurrence.stream.run(chunks())):
            for n, state in zip(moved[number], after, strict=True):
                states[n] = state
        cold = (np.fromiter(map(len, states), np.int64, M) == 4 * recurrence.floats).tolist()
        results: _Results = list(map(_result, zip(states, cold, repeat(()), repeat(()), strict=False)))
        for n in np.flatnonzero(~sound).tolist():
            results[n] = self._damaged(states[n])
        self._answer(requests, states, [n for n in chosen.tolist() if requests[n].ask is not None], results)
        return results

    def _rows_of(self, items: tuple[str, ...]) -> bytes:
        """The rows of the items that the model knows, as uint32."""
        known = self._row_bytes
        if len(items) > 1:
            try:
                return b"".join(itemgetter(*items)(known))  # one call for all look-ups
            except KeyError:
                pass
        return b"".join([row for item in items if (row := known.get(item))])


def _each(
    requests: Sequence[EngineRequest],
    *ways: tuple[NDArray[np.bool_], Callable[[Sequence[EngineRequest]], _Results]],
) -> _Results:
    """Results in the requests' order, where each is run in the way that has chosen it."""
    results: dict[int, EngineResult | StateDamagedError] = {}
    for chosen, run in ways:
        which = np.flatnonzero(chosen).tolist()
        if which:
            results |= zip(which, run([requests[n] for n in which]), strict=True)
    return [results[n] for n in range(len(requests))]


def missing() -> str | None:
    """What keeps PyTorch from using a GPU, as the end of a sentence; None if nothing does."""
    if torch.version.cuda is None:
        return f"PyTorch {torch.__version__} is built for CPUs: install one that is built for CUDA"
    if not torch.cuda.is_available():
        return "PyTorch finds no CUDA device: see that nvidia-smi lists one and that this process may use it"
    return None


def _network(bundle: Bundle, device: torch.device) -> RecBLR:
    """The bundle's network in evaluation mode, its arrays copied to the device one by one."""
    with torch.device("meta"):  # no random numbers for weights that are at hand
        network = RecBLR(bundle.config)
    weights = {name: torch.tensor(array, device=device) for name, array in bundle.weights.items()}
    network.load_state_dict(weights, assign=True)
    return network.eval().requires_grad_(False)
