"""The engine by itself, on one core: steps, batches, rebuilds and top-k, each beside its reference in the same run.

    python -m loadtests.bench_engine [--items 1000000] [--bundle FOLDER]
    python -m loadtests.bench_engine --device cuda          # the torch engine: see loadtests/bench_torch.py

Prints a table, and the same as JSON in the last line. Times are CPU times, medians of RUNS runs. Catalogues are
random: directions in clusters, log-normal lengths, queries from the clusters.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

for _library in ("OMP", "OPENBLAS", "MKL"):
    os.environ[f"{_library}_NUM_THREADS"] = "1"

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from model.artifact import Bundle, load_bundle  # noqa: E402
from service.core.ports import Folded, TopK, Turn  # noqa: E402
from service.engine.approximate import ApproximateIndex  # noqa: E402
from service.engine.cpu import CpuEngine  # noqa: E402
from service.engine.models import warm  # noqa: E402
from service.engine.retrieval import Queries, exact  # noqa: E402

RUNS = 7
DEMO = Path(__file__).parents[1] / "bundles" / "ml-1m-demo"
F32 = NDArray[np.float32]


def microseconds(call: Callable[[], object], at_least: float = 0.05) -> float:
    """CPU time of one call: the median of RUNS runs, each of as many calls as `at_least` seconds hold."""
    call()
    began = time.process_time()
    call()
    calls = max(1, int(at_least / max(time.process_time() - began, 1e-6)))
    runs = []
    for _ in range(RUNS):
        began = time.process_time()
        for _ in range(calls):
            call()
        runs.append((time.process_time() - began) / calls * 1e6)
    return statistics.median(runs)


def steps(bundle: Bundle) -> dict[str, float | None]:
    """One event for each of B users, without and with an answer; whole histories; and torch's step."""
    engine, rng = CpuEngine(bundle, 1000), np.random.default_rng(0)
    warm(engine)
    names = [item.item_id for item in bundle.items]

    def history(length: int) -> tuple[str, ...]:
        return tuple(names[n] for n in rng.integers(0, len(names), length))

    users = [
        answer.state for answer in engine.run([Turn(None, history(200), None)] * 128) if isinstance(answer, Folded)
    ]
    found: dict[str, float | None] = {}
    for B in (1, 8, 32, 128):
        for name, ask in (("fold", None), ("fold + top-10", TopK(10, exclude_seen=True))):
            turns = [Turn(state, history(1), ask) for state in users[:B]]
            found[f"{name}, batch of {B}: us/event"] = microseconds(partial(engine.run, turns)) / B
    turns = [Turn(None, history(int(n)), None) for n in rng.integers(20, 400, 64)]
    events = sum(len(turn.items) for turn in turns)
    found["rebuild of 64 histories: events/s"] = events / microseconds(lambda: engine.run(turns)) * 1e6
    found["torch eager, batch of 1: us/event"] = torch_step(bundle)
    return found


def torch_step(bundle: Bundle) -> float | None:
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
        return microseconds(lambda: network.step(item, state))


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


def asking(vectors: F32, seen: int = 0) -> Queries:
    """For ten rows each, without `seen` given ones."""
    n = len(vectors)
    rows = np.arange(1, 1 + seen, dtype=np.uint32)
    return Queries(vectors, np.full(n, 10), rows, np.zeros(n, np.int64), np.full(n, seen))


def retrieval(items: int) -> dict[str, float | None]:
    """Exact and approximate top-10 out of so many items, for each query; torch's matmul and topk beside them."""
    table, vectors = catalogue(items)
    found: dict[str, float | None] = {}
    began = time.process_time()
    index = ApproximateIndex.build(table, vectors[:128], 0.99)
    found["index: CPU seconds to build, recall measured"] = time.process_time() - began
    found["index: recall@10"] = None if index is None else recall(index, table, vectors[128:])
    for B in (1, 16):
        found[f"exact, batch of {B}: us/query"] = microseconds(partial(exact, table, asking(vectors[:B]))) / B
        for seen in (0, 1000):
            name = f"approximate, {seen} seen, batch of {B}: us/query"
            search = None if index is None else partial(index.search, asking(vectors[:B], seen))
            found[name] = None if search is None else microseconds(search) / B
        found[f"torch matmul + topk, batch of {B}: us/query"] = torch_top_k(table, vectors[:B])
    return {f"{items} items, {name}": value for name, value in found.items()}


def recall(index: ApproximateIndex, table: F32, vectors: F32) -> float:
    """recall@10 on queries that the index was not measured with when it was built."""
    wanted, given = exact(table, asking(vectors)).rows, index.search(asking(vectors)).rows
    return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(wanted.tolist(), given.tolist(), strict=True)]))


def torch_top_k(table: F32, vectors: F32) -> float | None:
    """The reference; None where there is no torch."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(1)
    items, queries = torch.from_numpy(table), torch.from_numpy(vectors)
    with torch.inference_mode():
        return microseconds(lambda: torch.topk(queries @ items.T, 10)) / len(vectors)


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="*", help="catalogue sizes")
    parser.add_argument("--bundle", type=Path, default=DEMO)
    parser.add_argument("--device", choices=["cuda", "torch-cpu"], help="measure the torch engine there instead")
    parser.add_argument(
        "--users", type=int, default=20_000, help="histories of 200 events that the torch engine rebuilds"
    )
    arguments = parser.parse_args()
    bundle = load_bundle(arguments.bundle)
    if arguments.device:
        from loadtests import bench_torch

        device, items = arguments.device.removeprefix("torch-"), arguments.items or [1_000_000, 10_000_000]
        result = bench_torch.measure(bundle, device, items, arguments.users, 200)
    else:
        result = dict(steps(bundle))
        for items in arguments.items or [3416, 20_000, 50_000, 100_000]:
            result |= retrieval(items)
    for name, value in result.items():
        print(f"{name:<70} {as_text(value):>14}")
    print(json.dumps(result))


def as_text(value: float | str | None) -> str:
    """A figure as a person reads it."""
    if isinstance(value, float):
        return f"{value:,.4g}" if value < 10 else f"{value:,.1f}"
    return "-" if value is None else str(value)


if __name__ == "__main__":
    main()
