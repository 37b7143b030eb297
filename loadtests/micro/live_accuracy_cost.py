"""What live accuracy costs, on one core: events folded and answered in batches, none, a share or all of them judged.

    python -m loadtests.micro.live_accuracy_cost [--bundle FOLDER]

Counted is all that a judged event adds: the draw, the place in the engine's batch, and the metrics. Prints JSON: CPU
microseconds an event, and times the cost of judging none, medians of rounds in which all take their turns.
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

from loadtests.micro.engine import DEMO
from loadtests.micro.interleaved import Call, Rounds, in_turns
from model.bundle.bundle import load_bundle
from service.core.engine_requests import EngineRequest, EngineResult, TopK
from service.core.events import Appended, Event, LogView
from service.core.ports import Engine
from service.core.recommending.evaluation_sampling import EvaluationSampler, indices_to_evaluate
from service.engine.cpu.cpu_engine import CpuEngine
from service.engine.loader import warm
from service.observability.live_accuracy import Accuracy
from service.settings import Settings

EVENTS = 4096  # different ones, over and over
ASK = TopK(10, exclude_seen=True)


def answering(engine: Engine, items: list[str], states: list[bytes], share: float, users: int) -> Call:
    """Folds and answers the next event of each of so many users at a call, as `Recommender.record` does."""
    sampling, accuracy = EvaluationSampler(share), Accuracy(CollectorRegistry())
    rng = np.random.default_rng(0)
    views = [
        LogView("", n, 0, None, (Event(n, items[rng.integers(len(items))], 0.0, "e"),), (Appended(n, False),))
        for n in range(1, EVENTS + 1)
    ]
    starts = cycle(range(0, EVENTS, users))

    def call() -> None:
        start = next(starts)
        requests = []
        for n, view in enumerate(views[start : start + users]):
            chosen = indices_to_evaluate(engine, view.pending, sampling.sampled(f"user {n}", view))
            requests.append(EngineRequest(states[n], (view.pending[0].item_id,), ASK, chosen))
        for result in engine.run(requests):
            if isinstance(result, EngineResult):
                for place in result.ranks:
                    accuracy.add(engine.version, place)
        if not start:
            accuracy.write()

    return call


async def measure(bundle: Path) -> dict[str, float]:
    """Every batch size and share; on a loop, for the metrics want one."""
    loaded = load_bundle(bundle)
    engine, rng = CpuEngine(loaded, 1000), np.random.default_rng(1)
    warm(engine)
    items = [item.item_id for item in loaded.items]
    histories = [
        EngineRequest(None, tuple(items[n] for n in rng.integers(0, len(items), 200)), None) for _ in range(32)
    ]
    states = [result.state for result in engine.run(histories) if isinstance(result, EngineResult)]
    default = float(Settings.model_fields["accuracy_sample"].default)
    calls: dict[str, tuple[Call | None, int]] = {
        _name(share, users): (answering(engine, items, states, share, users), users)
        for users in (1, 8, 32)
        for share in (0.0, default, 1.0)
    }
    rounds = in_turns(calls, at_least=0.2)
    found = {f"{name}: us/event": round(median(times), 2) for name, times in rounds.items()}
    for users in (1, 8, 32):
        for share in (default, 1.0):
            found[f"{_name(share, users)}: times none"] = round(_times(rounds, users, share), 3)
    return found


def _name(share: float, users: int) -> str:
    return f"judged {share:g}, batch of {users}"


def _times(rounds: Rounds, users: int, share: float) -> float:
    pairs = zip(rounds[_name(share, users)], rounds[_name(0.0, users)], strict=True)
    return median(judging / none for judging, none in pairs)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=DEMO)
    print(json.dumps(asyncio.run(measure(parser.parse_args().bundle)), indent=1))


if __name__ == "__main__":
    main()
