"""Execution of engine jobs in the event loop or the engine's thread."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from service.core.engine_requests import EngineRequest, EngineResult, ScoredItem
from service.core.ports import Engine, EngineJob, SimilarJob


async def run_engine_requests(
    thread: ThreadPoolExecutor, max_inline_seconds: float, jobs: Sequence[EngineJob]
) -> list[EngineResult | Exception]:
    """Run the jobs, those of one engine as one batch.

    Jobs name different engines while an A/B test runs, and just after a rollout.

    Args:
        thread: the engine's thread.
        max_inline_seconds: estimated cost of all jobs up to which the event loop runs them itself (decision 0039).
        jobs: the jobs to run.

    Returns:
        One result or error per job, in the order of the jobs.
    """
    positions_by_engine: dict[int, list[int]] = {}
    for position, (engine, _) in enumerate(jobs):
        positions_by_engine.setdefault(id(engine), []).append(position)
    batches = [
        (jobs[positions[0]][0], [jobs[position][1] for position in positions])
        for positions in positions_by_engine.values()
    ]
    if sum(engine.cost(requests) for engine, requests in batches) <= max_inline_seconds:
        batch_results = _run_each(batches)
    else:
        batch_results = await asyncio.get_running_loop().run_in_executor(thread, _run_each, batches)
    results: dict[int, EngineResult | Exception] = {}
    for positions, batch in zip(positions_by_engine.values(), batch_results, strict=True):
        results.update(zip(positions, batch, strict=True))
    return [results[position] for position in range(len(jobs))]


def _run_each(
    batches: Sequence[tuple[Engine, list[EngineRequest]]],
) -> list[Sequence[EngineResult | Exception]]:
    results: list[Sequence[EngineResult | Exception]] = []
    for engine, requests in batches:
        try:
            results.append(engine.run(requests))
        except Exception as error:  # an error of one engine must not fail the others' jobs
            results.append([error] * len(requests))
    return results


async def run_similar(
    thread: ThreadPoolExecutor, jobs: Sequence[SimilarJob]
) -> list[tuple[ScoredItem, ...] | Exception]:
    """Find similar items for each job in the engine's thread.

    Batches of `run_engine_requests` run in between.
    """

    def run() -> list[tuple[ScoredItem, ...] | Exception]:
        return [_similar_or_error(job) for job in jobs]

    return await asyncio.get_running_loop().run_in_executor(thread, run)


def _similar_or_error(job: SimilarJob) -> tuple[ScoredItem, ...] | Exception:
    engine, item_id, k = job
    try:
        return engine.similar(item_id, k)
    except Exception as error:  # an error of one item must not fail the others
        return error
