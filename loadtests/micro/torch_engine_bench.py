"""The torch engine by itself: `python -m loadtests.micro.engine --device cuda` (or cpu, to try it out).

Times are wall-clock medians, copies to and from the device included: what a request would wait for.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from model.bundle.bundle import Bundle
from service.core.engine_requests import EngineRequest, EngineResult, TopK
from service.engine.cuda.cuda_engine import CudaEngine
from service.engine.cuda.cuda_graph import step
from service.engine.cuda.cuda_search import CudaSearch
from service.engine.loader import warm
from service.engine.search.exact import exact_top_k
from service.engine.search.queries import TopKQueries

RUNS = 7
_DIM = 64


def seconds(call: Callable[[], object], at_least: float = 0.2) -> float:
    """Wall-clock time of one call: the median of RUNS runs, each of as many calls as `at_least` seconds hold."""
    call()
    began = time.perf_counter()
    call()
    calls = max(1, int(at_least / max(time.perf_counter() - began, 1e-6)))
    runs = []
    for _ in range(RUNS):
        began = time.perf_counter()
        for _ in range(calls):
            call()
        runs.append((time.perf_counter() - began) / calls)
    return statistics.median(runs)


def steps(bundle: Bundle, device: str, users: int, events: int) -> dict[str, float | str | None]:
    """One event for each of B users, without and with an answer, and the rebuild of whole histories."""
    engine, rng = CudaEngine(bundle, 1000, device), np.random.default_rng(0)
    warm(engine)
    names = [item.item_id for item in bundle.items]

    def history(length: int) -> tuple[str, ...]:
        return tuple(names[n] for n in rng.integers(0, len(names), length))

    states = [
        answer.state
        for answer in engine.run([EngineRequest(None, history(50), None)] * 1024)
        if isinstance(answer, EngineResult)
    ]
    found: dict[str, float | str | None] = {}
    for B in (1, 64, 1024):
        for name, ask in (("fold", None), ("fold + top-10", TopK(10, exclude_seen=True))):
            requests = [EngineRequest(state, history(1), ask) for state in states[:B]]
            found[f"{name}, batch of {B}: us/batch"] = seconds(partial(engine.run, requests)) * 1e6
        found[f"the network's step alone, not captured, batch of {B}: us/batch"] = eager(engine, B)
    requests = [EngineRequest(None, history(events), None) for _ in range(users)]
    began = time.perf_counter()
    engine.run(requests)  # compiles
    found["rebuild, first time: s"] = time.perf_counter() - began
    runs = []
    for _ in range(3):
        began = time.perf_counter()
        engine.run(requests)
        runs.append(time.perf_counter() - began)
    found[f"rebuild of {users} users x {events} events: events/s"] = users * events / statistics.median(runs)
    return found


def eager(engine: CudaEngine, users: int) -> float:
    """The step of the same network, launch by launch, its arguments on the device."""
    network = engine.network
    device = network.initial_state.device
    state = network.begin(users).clone()
    rows = torch.ones(users, network.config.conv_width, dtype=torch.int64, device=device)

    def call() -> None:
        step(network, state, rows)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    with torch.no_grad():
        return seconds(call) * 1e6


def retrieval(items: int, device: str) -> dict[str, float | str | None]:
    """Top-10 of so many random items; how far the answers are those of the CPU's exact search."""
    generator = torch.Generator(device).manual_seed(0)
    table = torch.randn(items + 1, _DIM, generator=generator, device=device)
    table *= torch.exp(0.4 * torch.randn(items + 1, 1, generator=generator, device=device)) / _DIM**0.5
    queries = torch.randn(1024, _DIM, generator=generator, device=device).cpu().numpy()
    search = CudaSearch(table)
    found: dict[str, float | str | None] = {}
    for B in (1, 16, 64):
        for seen in (0, 1000):
            asked = asking(queries[:B], seen, items)
            found[f"{items} items, {seen} seen, batch of {B}: us/query"] = (
                seconds(partial(search.top_k, asked)) / B * 1e6
            )
    asked = asking(queries[:8], 1000, items)
    given, wanted = search.top_k(asked), exact_top_k(table.cpu().numpy(), asked)
    same = [len(set(a) & set(b)) / 10 for a, b in zip(given.rows.tolist(), wanted.rows.tolist(), strict=True)]
    found[f"{items} items: share of the CPU engine's answers"] = float(np.mean(same))
    if device == "cuda":
        found[f"{items} items: GB of device memory, most"] = torch.cuda.max_memory_allocated() / 1e9
    return found


def asking(vectors: NDArray[np.float32], seen: int, items: int) -> TopKQueries:
    """For ten rows each, without `seen` given ones."""
    n = len(vectors)
    rows = (1 + np.arange(n * seen) % items).astype(np.uint32)
    starts = np.arange(n, dtype=np.int64) * seen
    return TopKQueries(vectors, np.full(n, 10), rows, starts, starts + seen)


def measure(bundle: Bundle, device: str, items: list[int], users: int, events: int) -> dict[str, float | str | None]:
    """All of it."""
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    found: dict[str, float | str | None] = {"device": name, "torch": torch.__version__}
    found |= steps(bundle, device, users, events)
    for count in items:
        found |= retrieval(count, device)
    return found
