"""Benchmark of training epochs (decision 0017).

    python -m model.training.trainer.epoch_benchmark

Measures the cost per event on random events, with the trainer's own rows and steps. There are three series, each
relative to its first entry:

- 1, 4 and 16 times the data;
- histories from much shorter to much longer than the window;
- windows of 50 to 3,200 with the same number of events per step.

Prints one line per entry, and JSON as the last line.

Times are medians of `--repeats` epochs after a first one that compiles. An epoch lasts from drawing the rows to
reading the loss, without validation. The benchmark is meant for a GPU; loadtests/micro/cpu_training.py is for a CPU.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from model.config import ModelConfig
from model.network import RecBLR
from model.training.data.interactions import Interactions
from model.training.trainer.distributed import SINGLE_PROCESS
from model.training.trainer.hyperparameters import Hyperparameters
from model.training.trainer.sequence_packing import SequencePacker
from model.training.trainer.train_step import TrainStep, negative_sampler

DATA_MULTIPLES = (1, 4, 16)
WINDOWS = (50, 200, 800, 3200)
HISTORIES = (20, 200, 2_000, 20_000)
# Window and mean history of the series that vary something else; MovieLens-1M has 165 events per user.
DEFAULT_WINDOW, DEFAULT_HISTORY = 200, 165
_DROPOUT = 0.2
_LEARNING_RATE = 1e-3


class EpochBenchmark:
    """Measure training epochs of one model shape.

    Entries of the same window share a compiled step.
    """

    def __init__(self, config: ModelConfig, step_events: int, repeats: int, device: torch.device) -> None:
        self._config = config
        self._step_events = step_events
        self._repeats = repeats
        self._device = device
        self._steps: dict[int, TrainStep] = {}

    def measure(self, series: str, events: int, history: int, window: int) -> dict[str, Any]:
        """Measure the median epoch of one entry.

        Args:
            series: name of the series, for the printed line.
            events: number of random events.
            history: mean length of the histories.
            window: steps per training row.
        """
        started = time.perf_counter()
        data = random_histories(events, history, self._config.items)
        max_rows = self._step_events // window
        packer = SequencePacker(data, window, max_rows, self._config.start_token, self._device)
        if window not in self._steps:
            torch.manual_seed(1)
            network = RecBLR(self._config, _DROPOUT, _DROPOUT).to(self._device)
            negatives = negative_sampler(Hyperparameters(), data, self._device)
            self._steps[window] = TrainStep(network, self._device, SINGLE_PROCESS, negatives)
        step = self._steps[window]
        seconds = [self._time_epoch(packer, step, seed) for seed in range(self._repeats + 1)][1:]
        result = {
            "events": packer.targets,
            "history": float(data.lengths.mean()),
            "window": window,
            "steps": packer.steps_per_epoch,
            "seconds": statistics.median(seconds),
            "ns_per_event": statistics.median(seconds) / packer.targets * 1e9,
        }
        print(
            f"{series:9} {result['events']:>10,} events, histories of {result['history']:>8,.1f},"
            f" windows of {window:>5,}: {result['seconds']:.4f} s per epoch,"
            f" {result['ns_per_event']:.1f} ns per event ({time.perf_counter() - started:.1f} s to measure)",
            flush=True,
        )
        return result

    def _time_epoch(self, packer: SequencePacker, step: TrainStep, seed: int) -> float:
        generator = torch.Generator(self._device).manual_seed(seed)
        started = time.perf_counter()
        losses = [step(batch, _LEARNING_RATE) for batch in packer.epoch(generator)]
        float(torch.stack(losses).mean())  # waits for the device
        return time.perf_counter() - started


def random_histories(events: int, history: int, items: int) -> Interactions:
    """Return random histories of 1 to about 2 * `history` events."""
    rng = np.random.default_rng(events + history)
    lengths = rng.integers(1, 2 * history, 2 * events // history + 2)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    offsets = np.append(offsets[offsets < events], events)
    rows = rng.integers(1, items + 1, events, dtype=np.int32)
    item_ids, user_ids = ([str(n) for n in range(count)] for count in (items, len(offsets) - 1))
    return Interactions(rows, offsets, item_ids, user_ids)


def relative(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add to each entry its cost per event relative to the first."""
    return [entry | {"relative": entry["ns_per_event"] / entries[0]["ns_per_event"]} for entry in entries]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--events", type=int, default=1_000_000, help="events of the first entry (default: %(default)s)")
    add("--step-events", type=int, default=38_400, help="events per step, at least 3,200 (default: %(default)s)")
    add("--items", type=int, default=3_416, help="catalogue size (default: %(default)s)")
    add("--dim", type=int, default=64, help="model width D (default: %(default)s)")
    add("--layers", type=int, default=2, help="number of layers L (default: %(default)s)")
    add("--repeats", type=int, default=3, help="epochs measured for each entry (default: %(default)s)")
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="(default: %(default)s)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all series and print the results; return the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if min(options.events, options.step_events) < max(WINDOWS) or options.repeats < 1:
        parser.error(f"--events and --step-events must be at least {max(WINDOWS)}, --repeats at least 1")
    device = torch.device(options.device)
    config = ModelConfig(items=options.items, dim=options.dim, layers=options.layers)
    benchmark = EpochBenchmark(config, options.step_events, options.repeats, device)
    # Whole steps of the default window, so that its entries have one shape and compile once.
    step = options.step_events // DEFAULT_WINDOW * DEFAULT_WINDOW
    sizes = [-(-options.events // step) * multiple * step - DEFAULT_WINDOW + 1 for multiple in DATA_MULTIPLES]
    middle = sizes[len(sizes) // 2]
    result = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
        "config": config.to_dict(),
        "step_events": options.step_events,
        "data": relative([benchmark.measure("data", size, DEFAULT_HISTORY, DEFAULT_WINDOW) for size in sizes]),
        "histories": relative(
            [benchmark.measure("histories", middle, history, DEFAULT_WINDOW) for history in HISTORIES]
        ),
        "windows": relative([benchmark.measure("windows", middle, DEFAULT_HISTORY, window) for window in WINDOWS]),
    }
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
