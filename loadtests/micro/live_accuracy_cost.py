"""Benchmark of live accuracy, by sampling rate and batch size.

    python -m loadtests.micro.live_accuracy_cost [--bundle FOLDER]

The cost of an evaluated event is its sampling, its rank in the engine's batch, and the metrics. Prints JSON: CPU
microseconds per event, and the ratio to a sampling rate of 0; medians of rounds measured in alternation.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from itertools import cycle
from pathlib import Path
from statistics import median

import numpy as np
from prometheus_client import CollectorRegistry
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from loadtests.environment.servers import DEMO_BUNDLE
from loadtests.micro.interleaved import Call, CpuTimes, Measured, measure_interleaved
from model.bundle.bundle import load_bundle
from service.core.engine_requests import EngineRequest, EngineResult, TopK
from service.core.events import Appended, Event, LogView
from service.core.ports import Engine
from service.core.recommending.evaluation_sampling import EvaluationSampler
from service.engine.cpu.cpu_engine import CpuEngine
from service.engine.loader import warm
from service.observability.live_accuracy import LiveAccuracy
from service.settings import Settings

EVENTS = 4096  # distinct events, used in a cycle
EVENTS_KEPT = 1000
BATCHES = (1, 8, 32)
TOP_10 = TopK(10, exclude_seen=True)


def record_call(engine: Engine, items: list[str], states: list[bytes], sampling_rate: float, batch: int) -> Call:
    """Return a call that replays and answers one event per user.

    It does the work of `Recommender.record` without the store.

    Args:
        engine: the engine.
        items: item ids.
        states: a state for each user.
        sampling_rate: fraction of events to evaluate.
        batch: users per call.
    """
    sampling, accuracy = EvaluationSampler(sampling_rate), LiveAccuracy(CollectorRegistry())
    rng = np.random.default_rng(0)
    views = [
        LogView("", n, 0, None, (Event(n, items[rng.integers(len(items))], 0.0, "e"),), (Appended(n, False),))
        for n in range(1, EVENTS + 1)
    ]
    starts = cycle(range(0, EVENTS, batch))

    def call() -> None:
        start = next(starts)
        requests = []
        for n, view in enumerate(views[start : start + batch]):
            evaluated_events = sampling.indices_to_evaluate(engine, f"user {n}", view, view.pending)
            requests.append(EngineRequest(states[n], (view.pending[0].item_id,), TOP_10, evaluated_events))
        for result in engine.run(requests):
            if isinstance(result, EngineResult):
                for rank in result.ranks:
                    accuracy.add(engine.version, rank)
        if not start:
            accuracy.write()

    return call


async def measure(bundle_folder: Path) -> dict[str, float]:
    """Measure every batch size and sampling rate.

    The metrics need an event loop.
    """
    bundle = load_bundle(bundle_folder)
    engine, rng = CpuEngine(bundle, EVENTS_KEPT), np.random.default_rng(1)
    warm(engine)
    items = [item.item_id for item in bundle.items]
    histories = [
        EngineRequest(None, tuple(items[n] for n in rng.integers(0, len(items), 200)), None)
        for _ in range(max(BATCHES))
    ]
    states = [result.state for result in engine.run(histories) if isinstance(result, EngineResult)]
    default_rate = float(Settings.model_fields["accuracy_sample"].default)
    calls = {
        _name(rate, batch): Measured(record_call(engine, items, states, rate, batch), batch)
        for batch in BATCHES
        for rate in (0.0, default_rate, 1.0)
    }
    times = measure_interleaved(calls, min_seconds=0.2)
    figures = {f"{name}: us/event": round(median(values), 2) for name, values in times.items()}
    for batch in BATCHES:
        for rate in (default_rate, 1.0):
            figures[f"{_name(rate, batch)}: ratio to rate 0"] = round(_cost_ratio(times, batch, rate), 3)
    return figures


def _name(sampling_rate: float, batch: int) -> str:
    return f"sampling rate {sampling_rate:g}, batch of {batch}"


def _cost_ratio(times: CpuTimes, batch: int, sampling_rate: float) -> float:
    pairs = zip(times[_name(sampling_rate, batch)], times[_name(0.0, batch)], strict=True)
    return median(evaluating / none for evaluating, none in pairs)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=DEMO_BUNDLE, help="the model")
    arguments = parser.parse_args()
    with threadpool_limits(limits=1, user_api="blas"):
        print(json.dumps(asyncio.run(measure(arguments.bundle)), indent=1))


if __name__ == "__main__":
    main()
