"""Benchmark of the engine on one core: steps, replays and top-k search.

    python -m loadtests.micro.engine_benchmark [--items 3416 1000000] [--out FOLDER] [--bundle FOLDER]
    python -m loadtests.micro.engine_benchmark --device cuda

Prints a table, and JSON in the last line; --out also writes engine.json. Figures are CPU times: medians of rounds in
which everything is measured in alternation. A ratio is the median of the rounds' ratios. `--device cuda` measures the
engine on a GPU instead (loadtests/micro/torch_engine_bench.py).
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from loadtests.environment.machine_info import machine_info
from loadtests.environment.servers import DEMO_BUNDLE
from loadtests.micro.engine_replay import TORCH_STEP, measure_replay
from loadtests.micro.engine_search import TORCH_SEARCH, measure_search
from loadtests.micro.interleaved import ROUNDS, CpuTimes
from model.bundle.bundle import Bundle, load_bundle

CATALOGUE_SIZES = [3416, 20_000, 50_000, 100_000]
GPU_CATALOGUE_SIZES = [1_000_000, 10_000_000]
GPU_HISTORY_LENGTH = 200


def measure(bundle: Bundle, sizes: Sequence[int]) -> dict[str, Any]:
    """Measure the CPU engine; return a dictionary ready for JSON."""
    times, figures = measure_replay(bundle), dict[str, float]()
    for items in sizes:
        search_times, index_figures = measure_search(items)
        times |= search_times
        figures |= index_figures
    medians = {name: round(statistics.median(values), 2) for name, values in times.items()}
    return {
        "scenario": "engine",
        "command": "python -m loadtests.micro.engine_benchmark " + shlex.join(sys.argv[1:]),
        "summary": medians | {name: round(value, 4) for name, value in figures.items()},
        "times_faster_than_torch": {name: round(value, 1) for name, value in speedups(times).items()},
        "rounds": {name: [round(value, 2) for value in values] for name, values in times.items()},
        "conditions": machine_info() | {"bundle": bundle.version, "numpy": np.__version__, "rounds": ROUNDS},
    }


def speedups(times: CpuTimes) -> dict[str, float]:
    """Return the median ratio of each measurement to its torch reference."""
    ratios = {}
    for name, values in times.items():
        catalogue, _, what = name.rpartition(" items, ")
        if what.startswith(("exact", "approximate")):
            reference = f"{catalogue} items, {TORCH_SEARCH}, {what.rpartition(', ')[2]}"
        else:
            reference = TORCH_STEP
        if reference in times and name != reference and TORCH_SEARCH not in name:
            pairs = zip(times[reference], values, strict=True)
            ratios[name.partition(":")[0]] = statistics.median(torch / own for torch, own in pairs)
    return ratios


def main() -> None:
    """Run the command."""
    arguments = _parse_arguments()
    bundle = load_bundle(arguments.bundle)
    result: dict[str, Any]
    if arguments.device:
        from loadtests.micro import torch_engine_bench

        device, sizes = arguments.device.removeprefix("torch-"), arguments.items or GPU_CATALOGUE_SIZES
        result = torch_engine_bench.measure(bundle, device, sizes, arguments.users, GPU_HISTORY_LENGTH)
        table = result
    else:
        with threadpool_limits(limits=1, user_api="blas"):
            result = measure(bundle, arguments.items or CATALOGUE_SIZES)
        table = result["summary"]
    for name, value in table.items():
        print(f"{name:<70} {_format(value):>14}")
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "engine.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="*", help="catalogue sizes")
    parser.add_argument("--bundle", type=Path, default=DEMO_BUNDLE, help="the model")
    parser.add_argument("--out", type=Path, help="folder of engine.json")
    parser.add_argument("--device", choices=["cuda", "torch-cpu"], help="measure the torch engine on this device")
    parser.add_argument("--users", type=int, default=20_000, help="histories that the torch engine replays")
    return parser.parse_args()


def _format(value: float | str | None) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}" if value < 10 else f"{value:,.1f}"
    return "-" if value is None else str(value)


if __name__ == "__main__":
    main()
