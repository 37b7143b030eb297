"""The engine by itself, on one core: steps, batches, rebuilds and top-k, each beside its reference in the same run.

    python -m loadtests.micro.engine [--items 3416 1000000] [--out FOLDER] [--bundle FOLDER]
    python -m loadtests.micro.engine --device cuda          # the torch engine: see loadtests/micro/torch_engine_bench.py

Prints a table, and the same as JSON in the last line; with --out also writes engine.json. Times are CPU times,
medians of RUNS rounds in which all that is compared takes its turn; a ratio is the median of the rounds' ratios.
Catalogues are random: directions in clusters, log-normal lengths, queries from the clusters.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

for _library in ("OMP", "OPENBLAS", "MKL"):
    os.environ[f"{_library}_NUM_THREADS"] = "1"

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from loadtests.environment.machine_info import machine  # noqa: E402
from loadtests.micro.interleaved import RUNS, Call, Rounds, in_turns  # noqa: E402
from model.bundle.bundle import Bundle, load_bundle  # noqa: E402
from service.core.engine_requests import EngineRequest, EngineResult, TopK  # noqa: E402
from service.engine.cpu.cpu_engine import CpuEngine  # noqa: E402
from service.engine.cpu.kernels import advance  # noqa: E402
from service.engine.cpu.weights import kernel_weights  # noqa: E402
from service.engine.loader import warm  # noqa: E402
from service.engine.search.exact import exact_top_k  # noqa: E402
from service.engine.search.ivf_pq import IvfPqIndex  # noqa: E402
from service.engine.search.queries import TopKQueries  # noqa: E402

TORCH_STEP, TORCH_SEARCH = "torch eager, batch of 1: us/event", "torch matmul + topk"
DEMO = Path(__file__).parents[2] / "bundles" / "ml-1m-demo"
F32 = NDArray[np.float32]


def steps(bundle: Bundle) -> Rounds:
    """One event for each of B users: the step, the fold of packed states, and with an answer; and torch's step."""
    engine, rng = CpuEngine(bundle, 1000), np.random.default_rng(0)
    warm(engine)
    names = [item.item_id for item in bundle.items]

    def history(length: int) -> tuple[str, ...]:
        return tuple(names[n] for n in rng.integers(0, len(names), length))

    users = [
        answer.state
        for answer in engine.run([EngineRequest(None, history(200), None)] * 128)
        if isinstance(answer, EngineResult)
    ]
    calls: dict[str, tuple[Call | None, int]] = {TORCH_STEP: (torch_step(bundle), 1)}
    for B in (1, 8, 32, 128):
        calls[f"step, batch of {B}: us/event"] = step(bundle, B), B
        for name, ask in (("fold", None), ("fold + top-10", TopK(10, exclude_seen=True))):
            requests = [EngineRequest(state, history(1), ask) for state in users[:B]]
            calls[f"{name}, batch of {B}: us/event"] = partial(engine.run, requests), B
    requests = [EngineRequest(None, history(int(n)), None) for n in rng.integers(20, 400, 64)]
    calls["rebuild of 64 histories: us/event"] = (
        partial(engine.run, requests),
        sum(len(request.items) for request in requests),
    )
    return in_turns(calls)


def step(bundle: Bundle, users: int) -> Call:
    """What torch's step does, no more: one event for each user, from state arrays to state arrays and outputs."""
    p = kernel_weights(bundle)
    h, conv = np.repeat(p.initial_h[None], users, 0), np.repeat(p.initial_conv[None], users, 0)
    rows, owners = np.arange(1, users + 1), np.arange(users)
    output = np.empty((users, p.norm.shape[1]), np.float32)
    return lambda: advance(p.embedding, p.norm, p.layers, p.offsets, p.widths, rows, owners, h, conv, output)


def torch_step(bundle: Bundle) -> Call | None:
    """The reference: the network's own step in PyTorch; None where there is none."""
    try:
        import torch

        from model.network import RecBLR
    except ImportError:
        return None
    torch.set_num_threads(1)
    network = RecBLR(bundle.config)
    network.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in bundle.weights.items()})
    network.eval()
    item, history = torch.tensor([1]), torch.tensor([[1, 2, 3]])
    with torch.inference_mode():
        _, state = network(history)

    def call() -> None:
        with torch.inference_mode():
            network.step(item, state)

    return call


def catalogue(items: int, dim: int = 64) -> tuple[F32, F32]:
    """A table (items + 1, dim) and 256 queries from its clusters."""
    rng = np.random.default_rng(0)
    clusters = max(50, items // 500)
    centres = rng.standard_normal((clusters, dim), np.float32)
    table = centres[rng.integers(0, clusters, items + 1)]
    table += np.float32(0.6) * rng.standard_normal((items + 1, dim), np.float32)
    table *= (rng.lognormal(0, 0.4, items + 1) / np.linalg.norm(table, axis=1)).astype(np.float32)[:, None]
    queries = centres[rng.integers(0, clusters, 256)]
    queries += np.float32(0.6) * rng.standard_normal(queries.shape, np.float32)
    return table, queries


def asking(vectors: F32, seen: int = 0) -> TopKQueries:
    """For ten rows each, without `seen` given ones."""
    n = len(vectors)
    rows = np.arange(1, 1 + seen, dtype=np.uint32)
    return TopKQueries(vectors, np.full(n, 10), rows, np.zeros(n, np.int64), np.full(n, seen))


def retrieval(items: int) -> tuple[Rounds, dict[str, float]]:
    """Exact and approximate top-10 out of so many items, torch's matmul and topk beside them; the index' figures."""
    table, vectors = catalogue(items)
    began = time.process_time()
    index = IvfPqIndex.build(table, vectors[:128], 0.99)
    found = {"index: CPU seconds to build": time.process_time() - began}
    if index is not None:
        found["index: recall@10"] = recall(index, table, vectors[128:])
    calls: dict[str, tuple[Call | None, int]] = {}
    for B in (1, 16):
        calls[f"{TORCH_SEARCH}, batch of {B}: us/query"] = torch_top_k(table, vectors[:B]), B
        calls[f"exact, batch of {B}: us/query"] = partial(exact_top_k, table, asking(vectors[:B])), B
        for seen in (0, 1000):
            search = None if index is None else partial(index.top_k, asking(vectors[:B], seen))
            calls[f"approximate, {seen} seen, batch of {B}: us/query"] = search, B
    rounds = {f"{items} items, {name}": values for name, values in in_turns(calls).items()}
    return rounds, {f"{items} items, {name}": value for name, value in found.items()}


def recall(index: IvfPqIndex, table: F32, vectors: F32) -> float:
    """recall@10 on queries that the index was not measured with when it was built."""
    wanted, given = exact_top_k(table, asking(vectors)).rows, index.top_k(asking(vectors)).rows
    return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(wanted.tolist(), given.tolist(), strict=True)]))


def torch_top_k(table: F32, vectors: F32) -> Call | None:
    """The reference; None where there is no torch."""
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


def ratios(rounds: Rounds) -> dict[str, float]:
    """How many times faster than its reference each thing is: the median over the rounds."""
    found = {}
    for name, values in rounds.items():
        of, _, what = name.rpartition(" items, ")
        if what.startswith(("exact", "approximate")):
            reference = f"{of} items, {TORCH_SEARCH}, {what.rpartition(', ')[2]}"
        else:
            reference = TORCH_STEP
        if reference in rounds and name != reference and TORCH_SEARCH not in name:
            found[name.partition(":")[0]] = statistics.median(
                a / b for a, b in zip(rounds[reference], values, strict=True)
            )
    return found


def measure(bundle: Bundle, sizes: Sequence[int]) -> dict[str, Any]:
    """All of the CPU engine's figures, ready for JSON."""
    rounds, figures = steps(bundle), dict[str, float]()
    for items in sizes:
        more, about = retrieval(items)
        rounds |= more
        figures |= about
    medians = {name: round(statistics.median(values), 2) for name, values in rounds.items()}
    return {
        "scenario": "engine",
        "command": "python -m loadtests.micro.engine " + shlex.join(sys.argv[1:]),
        "summary": medians | {name: round(value, 4) for name, value in figures.items()},
        "times_faster_than_torch": {name: round(value, 1) for name, value in ratios(rounds).items()},
        "rounds": {name: [round(value, 2) for value in values] for name, values in rounds.items()},
        "conditions": machine() | {"bundle": bundle.version, "numpy": np.__version__, "rounds": RUNS},
    }


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="*", help="catalogue sizes")
    parser.add_argument("--bundle", type=Path, default=DEMO)
    parser.add_argument("--out", type=Path, help="folder for engine.json")
    parser.add_argument("--device", choices=["cuda", "torch-cpu"], help="measure the torch engine there instead")
    parser.add_argument(
        "--users", type=int, default=20_000, help="histories of 200 events that the torch engine rebuilds"
    )
    arguments = parser.parse_args()
    bundle = load_bundle(arguments.bundle)
    result: dict[str, Any]
    if arguments.device:
        from loadtests.micro import torch_engine_bench

        device, items = arguments.device.removeprefix("torch-"), arguments.items or [1_000_000, 10_000_000]
        result = torch_engine_bench.measure(bundle, device, items, arguments.users, 200)
        table = result
    else:
        result = measure(bundle, arguments.items or [3416, 20_000, 50_000, 100_000])
        table = result["summary"]
    for name, value in table.items():
        print(f"{name:<70} {as_text(value):>14}")
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "engine.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


def as_text(value: float | str | None) -> str:
    """A figure as a person reads it."""
    if isinstance(value, float):
        return f"{value:,.4g}" if value < 10 else f"{value:,.1f}"
    return "-" if value is None else str(value)


if __name__ == "__main__":
    main()
