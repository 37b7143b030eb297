"""Batched access of concurrent requests to the event log and the engine."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from service.core.attribution.attribution import AppendingStore
from service.core.engine_requests import EngineRequest, EngineResult, RankCandidates, ScoredItem, TopK
from service.core.events import AppendAndRead, LogView
from service.core.ports import Engine
from service.core.recommending.heavy_work import HEAVY_WORK, LIGHT_REQUESTS
from service.core.recommending.micro_batcher import BatchMeter, MicroBatcher

# A batch is as large as what arrived while the last one ran; these limits bound the duration of one batch.
MAX_APPEND_BATCH = 128
MAX_ENGINE_BATCH = 64
MAX_SIMILAR_BATCH = 8
MAX_LONG_BATCH = 1  # together they would be no faster
# Engine requests beyond any of these take milliseconds: they have batches and a thread of their own.
LONG_HISTORY, LONG_ANSWER, LONG_RANKING = 200, 1000, 500
MAX_QUEUE = 4096
# Events of batch requests in one round trip beside other requests, some 1 ms of Redis.
BULK_EVENTS = 24
# They alternate with each other and with the callers whose large bodies and answers wait. Callers alternate within.
_LONG_REQUESTS, _SIMILAR_REQUESTS = "long engine requests", "similar items"
_WHOLE_LOG_COST = 100  # of reading a log without its snapshot, in appended events
# Engine work up to this long runs on the event loop. Handing it to a thread, and taking the GIL back after each
# kernel, costs more than a small batch (decision 0039).
MAX_INLINE_SECONDS = 2e-3


class BatchedStore:
    """Appends and reads of concurrent requests, in shared round trips."""

    def __init__(
        self,
        store: AppendingStore,
        meter: BatchMeter,
        *,
        max_batch: int = MAX_APPEND_BATCH,
        max_queue: int = MAX_QUEUE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._batcher: MicroBatcher[AppendAndRead, LogView] = MicroBatcher(
            store.append_and_read,
            max_batch=max_batch,
            max_queue=max_queue,
            meter=meter,
            clock=clock,
            low_priority_share=BULK_EVENTS,
            cost=_store_cost,
        )

    def append_and_read(
        self, request: AppendAndRead, deadline: float = math.inf, *, bulk: bool = False
    ) -> Coroutine[Any, Any, LogView]:
        """Append the request's events and read the user's log; see `Store.append_and_read`.

        Requests of a batch are `bulk`: beside others, each round trip takes few of them.

        Raises:
            StoreUnavailable: The store did not answer; whether the events were appended is unknown.
            Overloaded: Too many requests are queued; nothing was appended.
            DeadlineExceeded: The request was still queued at `deadline`; nothing was appended.
        """
        return self._batcher.submit(request, deadline, low_priority=bulk)

    async def close(self) -> None:
        """Wait until every request has its result."""
        await self._batcher.close()


def _store_cost(request: AppendAndRead) -> int:
    return max(1, len(request.events)) + (_WHOLE_LOG_COST if request.model_version is None else 0)


class _EngineCall(NamedTuple):
    engine: Engine
    request: EngineRequest


class _SimilarCall(NamedTuple):
    engine: Engine
    item_id: str
    query: TopK


class BatchedEngine:
    """Engine requests of concurrent HTTP requests, in shared batches.

    Every method takes the engine to run on: an A/B test has two, and a rollout leaves requests of the old one queued.
    Batches longer than `max_inline_seconds` run in the engine thread. There is one such thread: the engine's
    arithmetic keeps a core busy, so a second thread would only compete with the first. Only requests that are long by
    themselves have another thread, so that no ordinary request waits for one.
    """

    def __init__(
        self,
        meter: BatchMeter,
        similar_meter: BatchMeter,
        long_meter: BatchMeter | None = None,
        *,
        max_batch: int = MAX_ENGINE_BATCH,
        max_similar_batch: int = MAX_SIMILAR_BATCH,
        max_queue: int = MAX_QUEUE,
        max_inline_seconds: float = MAX_INLINE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._long_thread = ThreadPoolExecutor(1, thread_name_prefix="engine-long")
        self._max_inline_seconds = max_inline_seconds
        self._requests: MicroBatcher[_EngineCall, EngineResult] = MicroBatcher(
            self._run_batch, max_batch=max_batch, max_queue=max_queue, meter=meter, clock=clock
        )
        self._long_requests: MicroBatcher[_EngineCall, EngineResult] = MicroBatcher(
            self._run_long_batch,
            max_batch=MAX_LONG_BATCH,
            max_queue=max_queue,
            meter=long_meter or meter,
            clock=clock,
        )
        self._similar_requests: MicroBatcher[_SimilarCall, tuple[ScoredItem, ...]] = MicroBatcher(
            self._similar_batch, max_batch=max_similar_batch, max_queue=max_queue, meter=similar_meter, clock=clock
        )

    def run(
        self, engine: Engine, request: EngineRequest, deadline: float = math.inf
    ) -> Coroutine[Any, Any, EngineResult]:
        """Run one request; see `Engine.run`.

        Raises:
            StateDamagedError: The request's state is not one of this engine's.
            Overloaded: Too many requests are queued.
            DeadlineExceeded: The request was still queued at `deadline`.
        """
        query, requests = request.query, self._requests
        if (
            len(request.items) > LONG_HISTORY
            or (isinstance(query, TopK) and query.k > LONG_ANSWER)
            or (isinstance(query, RankCandidates) and len(query.candidates) > LONG_RANKING)
        ):
            requests = self._long_requests
        else:
            LIGHT_REQUESTS.newest = time.monotonic()
        return requests.submit(_EngineCall(engine, request), deadline)

    def run_low_priority(self, engine: Engine, request: EngineRequest) -> Coroutine[Any, Any, EngineResult]:
        """Run one request that no client waits for, after all others."""
        requests = self._long_requests if len(request.items) > LONG_HISTORY else self._requests
        return requests.submit(_EngineCall(engine, request), low_priority=True)

    def similar(
        self, engine: Engine, item_id: str, query: TopK, deadline: float = math.inf
    ) -> Coroutine[Any, Any, tuple[ScoredItem, ...]]:
        """Find the items most similar to `item_id`.

        Raises `ItemNotFound`, `Overloaded` or `DeadlineExceeded`.
        """
        return self._similar_requests.submit(_SimilarCall(engine, item_id, query), deadline)

    async def close(self) -> None:
        """Wait until every request has its result, then stop the threads."""
        try:
            await self._similar_requests.close()
            await self._long_requests.close()
            await self._requests.close()
        finally:
            self._thread.shutdown()
            self._long_thread.shutdown()

    async def _run_batch(self, calls: Sequence[_EngineCall]) -> list[EngineResult | Exception]:
        indices_by_engine: dict[int, list[int]] = {}
        for index, call in enumerate(calls):
            indices_by_engine.setdefault(id(call.engine), []).append(index)
        batches = [
            (calls[indices[0]].engine, [calls[index].request for index in indices])
            for indices in indices_by_engine.values()
        ]
        if sum([engine.cost(requests) for engine, requests in batches]) <= self._max_inline_seconds:
            results_by_engine = _run_each(batches)
        else:
            loop = asyncio.get_running_loop()
            results_by_engine = await loop.run_in_executor(self._thread, _run_each, batches)
        results: dict[int, EngineResult | Exception] = {}
        for indices, found in zip(indices_by_engine.values(), results_by_engine, strict=True):
            results.update(zip(indices, found, strict=True))
        return [results[index] for index in range(len(calls))]

    async def _run_long_batch(self, calls: Sequence[_EngineCall]) -> list[EngineResult | Exception]:
        alone = [(engine, [request]) for engine, request in calls]
        loop = asyncio.get_running_loop()
        results = await HEAVY_WORK.run(
            lambda: loop.run_in_executor(self._long_thread, _run_each, alone), caller=_LONG_REQUESTS
        )
        return [result for (result,) in results]

    async def _similar_batch(self, calls: Sequence[_SimilarCall]) -> list[tuple[ScoredItem, ...] | Exception]:
        # Never on the event loop: a search by cosine scans the whole catalogue.
        loop = asyncio.get_running_loop()
        return await HEAVY_WORK.run(
            lambda: loop.run_in_executor(self._long_thread, _search_each, calls), caller=_SIMILAR_REQUESTS
        )


def _run_each(batches: Sequence[tuple[Engine, list[EngineRequest]]]) -> list[Sequence[EngineResult | Exception]]:
    results: list[Sequence[EngineResult | Exception]] = []
    for engine, requests in batches:
        try:
            results.append(engine.run(requests))
        except Exception as error:  # the failure of one engine must not fail the other's requests
            results.append([error] * len(requests))
    return results


def _search_each(calls: Sequence[_SimilarCall]) -> list[tuple[ScoredItem, ...] | Exception]:
    results: list[tuple[ScoredItem, ...] | Exception] = []
    for engine, item_id, query in calls:
        try:
            results.append(engine.similar(item_id, query.k, query.allowed, query.exclude))
        except Exception as error:  # an unknown item must not fail the other searches
            results.append(error)
    return results
