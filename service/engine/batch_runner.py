"""Batches of the engine's work, on the event loop or in the engine's own thread."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from service.core.engine_requests import EngineRequest, EngineResult, ScoredItem
from service.core.ports import Engine, EngineJob, SimilarJob


async def run_engine_requests(
    thread: ThreadPoolExecutor, longest_inline: float, jobs: Sequence[EngineJob]
) -> list[EngineResult | Exception]:
    """Run each job on its engine, those of one engine as one batch; results in the order of the jobs.

    There are two engines while an A/B test runs, and after an exchange for as long as turns begun with the old model
    wait. What costs up to `longest_inline` seconds, of all engines together, the event loop does itself.
    """
    batches: dict[int, list[int]] = {}
    for position, (engine, _) in enumerate(jobs):
        batches.setdefault(id(engine), []).append(position)
    work = [(jobs[positions[0]][0], [jobs[position][1] for position in positions]) for positions in batches.values()]
    if sum(engine.cost(requests) for engine, requests in work) <= longest_inline:
        found = _run_each(work)
    else:
        found = await asyncio.get_running_loop().run_in_executor(thread, _run_each, work)
    results: dict[int, EngineResult | Exception] = {}
    for positions, result in zip(batches.values(), found, strict=True):
        results.update(zip(positions, result, strict=True))
    return [results[position] for position in range(len(jobs))]


def _run_each(work: Sequence[tuple[Engine, list[EngineRequest]]]) -> list[Sequence[EngineResult | Exception]]:
    found: list[Sequence[EngineResult | Exception]] = []
    for engine, requests in work:
        try:
            found.append(engine.run(requests))
        except Exception as error:  # one engine's failure is not the other's
            found.append([error] * len(requests))
    return found


async def run_similar(
    thread: ThreadPoolExecutor, jobs: Sequence[SimilarJob]
) -> list[tuple[ScoredItem, ...] | Exception]:
    """Look up one after the other in the engine's own thread; between two batches of these the turns get theirs."""

    def work() -> list[tuple[ScoredItem, ...] | Exception]:
        return [_similar_or_error(job) for job in jobs]

    return await asyncio.get_running_loop().run_in_executor(thread, work)


def _similar_or_error(job: SimilarJob) -> tuple[ScoredItem, ...] | Exception:
    engine, item_id, k = job
    try:
        return engine.similar(item_id, k)
    except Exception as error:  # one item's failure is not the others'
        return error
