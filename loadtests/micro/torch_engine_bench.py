"""Benchmark of the engine on a GPU: `python -m loadtests.micro.engine_benchmark --device cuda`.

Figures are medians of wall-clock times and include the copies to and from the device, as a request would see them.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from loadtests.micro.random_histories import RandomHistories
from model.bundle.bundle import Bundle
from service.core.engine_requests import EngineRequest, EngineResult, TopK
from service.engine.cuda.cuda_engine import CudaEngine
from service.engine.cuda.cuda_graph import step
from service.engine.cuda.cuda_search import CudaSearch
from service.engine.loader import warm
from service.engine.search.exact_top_k import exact_top_k
from service.engine.search.top_k_queries import TopKQueries

RUNS = 7
HISTORY_RUNS = 3
REPLAY_BATCHES = (1, 64, 1024)
SEARCH_BATCHES = (1, 16, 64)
SEEN_ITEMS = (0, 1000)
EVENTS_KEPT = 1000
_DIM = 64

Figures = dict[str, float | str | None]


def measure(bundle: Bundle, device: str, sizes: list[int], users: int, events: int) -> Figures:
    """Measure the torch engine.

    Args:
        bundle: the model.
        device: "cuda" or "cpu".
        sizes: catalogue sizes for top-10 search.
        users: histories of the bulk replay.
        events: length of each history.
    """
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    figures: Figures = {"device": name, "torch": torch.__version__}
    figures |= measure_replay(bundle, device, users, events)
    for items in sizes:
        figures |= measure_search(items, device)
    return figures


def wall_seconds(call: Callable[[], object], min_seconds: float = 0.2) -> float:
    """Return the wall-clock time of one call: a median of RUNS runs.

    A run repeats the call for at least `min_seconds`.
    """
    call()  # compile
    started = time.perf_counter()
    call()
    calls = max(1, int(min_seconds / max(time.perf_counter() - started, 1e-6)))
    runs = []
    for _ in range(RUNS):
        started = time.perf_counter()
        for _ in range(calls):
            call()
        runs.append((time.perf_counter() - started) / calls)
    return statistics.median(runs)


def measure_replay(bundle: Bundle, device: str, users: int, events: int) -> Figures:
    """Measure one event per user, and the replay of histories."""
    engine = CudaEngine(bundle, EVENTS_KEPT, device)
    warm(engine)
    histories = RandomHistories(bundle)
    states = histories.states(engine, max(REPLAY_BATCHES), 50)
    gc.collect()
    gc.freeze()  # as the service does when it has started
    figures: Figures = {}
    for batch in REPLAY_BATCHES:
        for name, top_k in (("replay", None), ("replay + top-10", TopK(10, exclude_seen=True))):
            requests = [EngineRequest(state, histories.history(1), top_k) for state in states[:batch]]
            figures[f"{name}, batch of {batch}: us/batch"] = wall_seconds(partial(engine.run, requests)) * 1e6
            if top_k:
                call = partial(read_items, engine, requests)
                figures[f"{name}, all items read, batch of {batch}: us/batch"] = wall_seconds(call) * 1e6
        figures[f"the network's step alone, not captured, batch of {batch}: us/batch"] = eager_step_us(engine, batch)
    requests = [EngineRequest(None, histories.history(events), None) for _ in range(users)]
    started = time.perf_counter()
    engine.run(requests)
    figures["replay of histories, first time: s"] = time.perf_counter() - started  # includes compilation
    runs = []
    for _ in range(HISTORY_RUNS):
        started = time.perf_counter()
        engine.run(requests)
        runs.append(time.perf_counter() - started)
    figures[f"replay of {users} users x {events} events: events/s"] = users * events / statistics.median(runs)
    return figures


def read_items(engine: CudaEngine, requests: list[EngineRequest]) -> None:
    """Run requests and read every item of their answers."""
    for result in engine.run(requests):
        if isinstance(result, EngineResult):
            tuple(result.items)


def eager_step_us(engine: CudaEngine, users: int) -> float:
    """Return microseconds of the network's step without a CUDA graph.

    Arguments and results stay on the device.
    """
    network = engine.network
    device = network.initial_state.device
    state = network.begin(users).clone()
    rows = torch.ones(users, network.config.conv_width, dtype=torch.int64, device=device)

    def call() -> None:
        step(network, state, rows)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    with torch.no_grad():
        return wall_seconds(call) * 1e6


def measure_search(items: int, device: str) -> Figures:
    """Measure top-10 search, and its agreement with the CPU engine."""
    generator = torch.Generator(device).manual_seed(0)
    table = torch.randn(items + 1, _DIM, generator=generator, device=device)
    table *= torch.exp(0.4 * torch.randn(items + 1, 1, generator=generator, device=device)) / _DIM**0.5
    vectors = torch.randn(1024, _DIM, generator=generator, device=device).cpu().numpy()
    search = CudaSearch(table)
    figures: Figures = {}
    for batch in SEARCH_BATCHES:
        for seen in SEEN_ITEMS:
            queries = top_10_queries(vectors[:batch], seen, items)
            seconds = wall_seconds(partial(search.top_k, queries))
            plain = wall_seconds(partial(search.top_k_in_pytorch, queries))
            name = f"{items} items, {seen} seen, batch of {batch}"
            figures[f"{name}: us/query"] = seconds / batch * 1e6
            figures[f"{name}, in PyTorch: us/query"] = plain / batch * 1e6
            figures[f"{name}: times faster than in PyTorch"] = plain / seconds
    queries = top_10_queries(vectors[:8], 1000, items)
    found, expected = search.top_k(queries), exact_top_k(table.cpu().numpy(), queries)
    same = [len(set(a) & set(b)) / 10 for a, b in zip(found.rows.tolist(), expected.rows.tolist(), strict=True)]
    figures[f"{items} items: fraction of the CPU engine's items"] = float(np.mean(same))
    if device == "cuda":
        figures[f"{items} items: GB of device memory, peak"] = torch.cuda.max_memory_allocated() / 1e9
    return figures


def top_10_queries(vectors: NDArray[np.float32], seen: int, items: int) -> TopKQueries:
    """Return a query per vector (B, D) without `seen` rows.

    Each query excludes different rows.
    """
    n = len(vectors)
    rows = (1 + np.arange(n * seen) % items).astype(np.uint32)
    starts = np.arange(n, dtype=np.int64) * seen
    return TopKQueries(vectors, np.full(n, 10), rows, starts, starts + seen)
