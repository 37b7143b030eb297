"""Benchmark of exact and approximate top-10 search, relative to PyTorch."""

from __future__ import annotations

import time
from functools import partial

import numpy as np
from numpy.typing import NDArray

from loadtests.micro.interleaved import Call, CpuTimes, Measured, measure_interleaved
from service.core.engine_requests import AllowedRows
from service.engine.appended_items import AppendedItems
from service.engine.cpu.cpu_search import CpuSearch
from service.engine.search.exact_top_k import exact_top_k
from service.engine.search.ivf_pq import IvfPqIndex
from service.engine.search.top_k_queries import TopKQueries

TORCH_SEARCH = "torch matmul + topk"
APPENDED = "one row in ten appended"
RECALL_GOAL = 0.99
BATCHES = (1, 16)
SEEN_ITEMS = (0, 1000)
ALLOWED_SHARES = (1.0, 0.5, 0.01)
_QUERIES = 256
_NOISE_LENGTH = np.float32(0.6)

Floats = NDArray[np.float32]


def measure_search(items: int) -> tuple[CpuTimes, dict[str, float]]:
    """Measure top-10 search; return CPU times, and the index's figures."""
    table, vectors = synthetic_catalogue(items)
    started = time.process_time()
    index = IvfPqIndex.build(table, vectors[: _QUERIES // 2], RECALL_GOAL)
    figures = {"index: CPU seconds to build": time.process_time() - started}
    if index is not None:
        figures["index: recall@10"] = recall(index, table, vectors[_QUERIES // 2 :])
    calls, engines = dict[str, Measured](), appended_and_trained(table, index)
    for batch in BATCHES:
        calls[f"{TORCH_SEARCH}, batch of {batch}: us/query"] = Measured(torch_top_10(table, vectors[:batch]), batch)
        search = partial(exact_top_k, table, top_10_queries(vectors[:batch]))
        calls[f"exact, batch of {batch}: us/query"] = Measured(search, batch)
        for seen in SEEN_ITEMS:
            approximate = None if index is None else partial(index.top_k, top_10_queries(vectors[:batch], seen))
            calls[f"approximate, {seen} seen, batch of {batch}: us/query"] = Measured(approximate, batch)
        for share in ALLOWED_SHARES:
            for name, (search_rows, appended) in engines.items():
                queries = filtered_queries(vectors[:batch], items, share)
                call = partial(search_rows.top_k, queries, appended)
                calls[f"{name}, {share:.0%} allowed, batch of {batch}: us/query"] = Measured(call, batch)
    times = {f"{items} items, {name}": values for name, values in measure_interleaved(calls).items()}
    return times, {f"{items} items, {name}": value for name, value in figures.items()}


def appended_and_trained(table: Floats, index: IvfPqIndex | None) -> dict[str, tuple[CpuSearch, AppendedItems]]:
    """Return searches of all rows: all trained, and one in ten appended."""
    items = len(table) - 1
    trained = items - items // 10
    nothing, appended = (AppendedItems.none(count, table.shape[1]) for count in (items, trained))
    appended = appended.append([(f"item {row}", table[row]) for row in range(trained + 1, items + 1)])
    part = None if index is None else IvfPqIndex.build(table[: trained + 1], table[1:_QUERIES], RECALL_GOAL)
    return {
        "trained": (CpuSearch(table, index), nothing),
        APPENDED: (CpuSearch(table[: trained + 1], part), appended),
    }


def filtered_queries(vectors: Floats, items: int, share: float) -> TopKQueries:
    """Return queries that allow a share of the rows, spread evenly."""
    mask = np.arange(items + 1) % round(1 / share) == 0
    allowed = AllowedRows.of(mask)
    rows = AllowedRows(allowed.bitmap, allowed.count, full=items if share == 1 else 0)
    return top_10_queries(vectors).restricted([rows] * len(vectors), [()] * len(vectors))


def synthetic_catalogue(items: int, dim: int = 64) -> tuple[Floats, Floats]:
    """Return a table (items + 1, dim) and queries (256, dim).

    Directions lie in clusters, lengths are log-normal, and queries come from the same clusters.
    """
    rng = np.random.default_rng(0)
    clusters = max(50, items // 500)
    centres = rng.standard_normal((clusters, dim), np.float32)
    table = centres[rng.integers(0, clusters, items + 1)]
    table += _NOISE_LENGTH * rng.standard_normal((items + 1, dim), np.float32)
    table *= (rng.lognormal(0, 0.4, items + 1) / np.linalg.norm(table, axis=1)).astype(np.float32)[:, None]
    queries = centres[rng.integers(0, clusters, _QUERIES)]
    queries += _NOISE_LENGTH * rng.standard_normal(queries.shape, np.float32)
    return table, queries


def top_10_queries(vectors: Floats, seen: int = 0) -> TopKQueries:
    """Return a query per vector (B, D) without rows 1 to `seen`."""
    n = len(vectors)
    rows = np.arange(1, 1 + seen, dtype=np.uint32)
    return TopKQueries(vectors, np.full(n, 10), rows, np.zeros(n, np.int64), np.full(n, seen))


def recall(index: IvfPqIndex, table: Floats, vectors: Floats) -> float:
    """Return recall@10 for queries that were not used to build the index."""
    expected, found = exact_top_k(table, top_10_queries(vectors)).rows, index.top_k(top_10_queries(vectors)).rows
    return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(expected.tolist(), found.tolist(), strict=True)]))


def torch_top_10(table: Floats, vectors: Floats) -> Call | None:
    """Return the reference, torch on one thread; None without torch."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(1)
    items, queries = torch.from_numpy(table), torch.from_numpy(vectors)

    def search() -> None:
        with torch.inference_mode():
            torch.topk(queries @ items.T, 10)

    return search
