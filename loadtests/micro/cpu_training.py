"""Benchmark of training on a CPU, relative to its matrix products.

    python -m loadtests.micro.cpu_training

A step's products alone, forward and backward, bound the speed of training in float32. They and the trainer's step run
in alternation. Prints JSON: events per second, and the ratio of the step's time to that of its products, for the full
softmax and for sampled negatives; medians of rounds.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable
from statistics import median

import torch

from loadtests.micro.interleaved import Call
from model.config import ModelConfig
from model.network import RecBLR
from model.training.trainer.distributed import SINGLE_PROCESS
from model.training.trainer.epoch_benchmark import random_histories
from model.training.trainer.hyperparameters import Hyperparameters
from model.training.trainer.sequence_packing import SequencePacker
from model.training.trainer.train_step import TrainStep, negative_sampler

HISTORY, WINDOW, EMBEDDING_DROPOUT = 165, 200, 0.3
ROUNDS, LEARNING_RATE = 7, 1e-3
PART_EVENTS = 4096  # rows of one matrix product, as in a step


def train_call(config: ModelConfig, events: int, hyperparameters: Hyperparameters) -> Call:
    """Return a call of one training step on `events` random events."""
    device = torch.device("cpu")
    data = random_histories(2 * events, HISTORY, config.items)
    packer = SequencePacker(data, WINDOW, events // WINDOW, config.start_token, device)
    batch = next(iter(packer.epoch(torch.Generator().manual_seed(0))))
    torch.manual_seed(1)
    network = RecBLR(config, 0.0, EMBEDDING_DROPOUT)
    step = TrainStep(network, device, SINGLE_PROCESS, negative_sampler(hyperparameters, data, device))
    return lambda: step(batch, LEARNING_RATE)


def products_call(config: ModelConfig, events: int, columns: int) -> Call:
    """Return a call of one step's matrix products.

    columns are the items that a position is scored against.
    """
    D, H = config.dim, config.hidden
    layer = [(D, 2 * H), (H, 2 * H), (H, D), (D, 4 * D), (4 * D, D)]
    shapes = [*layer * config.layers, (D, columns)]
    rows = min(events, PART_EVENTS)
    tensors = [(torch.randn(rows, n), torch.randn(n, m), torch.randn(rows, m)) for n, m in shapes]
    outputs = [tuple(torch.empty_like(tensor) for tensor in group) for group in tensors]

    def call() -> None:
        for _ in range(events // rows):
            for (x, weight, y), (dx, dweight, out) in zip(tensors, outputs, strict=True):
                torch.mm(x, weight, out=out)
                torch.mm(y, weight.T, out=dx)
                torch.mm(x.T, y, out=dweight)

    return call


def alternating_seconds(calls: Iterable[Call]) -> list[float]:
    """Return each call's median wall-clock seconds over ROUNDS, in alternation."""
    calls = list(calls)
    for call in calls:
        call()  # compile
    rounds: list[list[float]] = []
    for _ in range(ROUNDS):
        times = []
        for call in calls:
            started = time.perf_counter()
            call()
            times.append(time.perf_counter() - started)
        rounds.append(times)
    return [median(times) for times in zip(*rounds, strict=True)]


def main() -> None:
    """Measure both losses and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--step-events", type=int, default=5 * PART_EVENTS, help="events per step (default: %(default)s)")
    add("--items", type=int, default=3_416, help="catalogue of the full softmax (default: %(default)s)")
    add("--large-items", type=int, default=20_000, help="catalogue of the sampled softmax (default: %(default)s)")
    add("--negatives", type=int, default=1_023, help="sampled negatives (default: %(default)s)")
    options = parser.parse_args()
    events = options.step_events // PART_EVENTS * PART_EVENTS
    full, sampled = ModelConfig(items=options.items), ModelConfig(items=options.large_items)
    few = Hyperparameters(full_softmax=0, negatives=options.negatives)
    names = ("full softmax", "products of the full softmax", "sampled", "products of sampled")
    seconds = alternating_seconds(
        [
            train_call(full, events, Hyperparameters()),
            products_call(full, events, options.items + 1),
            train_call(sampled, events, few),
            products_call(sampled, events, options.negatives + 1),
        ]
    )
    result: dict[str, object] = {
        "threads": torch.get_num_threads(),
        "step_events": events,
        "torch": torch.__version__,
    }
    result["events_per_second"] = {name: events / time for name, time in zip(names, seconds, strict=True)}
    result["time_relative_to_products"] = {
        "full softmax": seconds[0] / seconds[1],
        "sampled": seconds[2] / seconds[3],
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
