"""Times training epochs: is their cost linear in the events, and the same for any window and any length of history?

    python -m model.training.trainer.epoch_benchmark

Random events, the trainer's own windows and steps. Three series, each against its first entry: 1, 4 and 16 times the
data; windows of 50 to 3,200 with the same number of events in a step; histories from much shorter to much longer than
the window. Prints a line for each epoch measured, and JSON as the last line. Times are medians of `--repeats` epochs
after a first one that compiles, from drawing the rows to reading the loss, without validation. It is meant for a GPU:
on a CPU the reference recurrence walks over time, so a longer window costs more.
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
from model.training.trainer.distributed import Crew
from model.training.trainer.hyperparameters import Hyperparameters
from model.training.trainer.sequence_packing import Windows
from model.training.trainer.train_step import TrainStep, negatives_of

TIMES = (1, 4, 16)
WINDOWS = (50, 200, 800, 3200)
HISTORIES = (20, 200, 2_000, 20_000)
# What the window is where something else varies, and the length of histories likewise (MovieLens-1M has 165).
WINDOW, HISTORY = 200, 165
_DROPOUT, _RATE = 0.2, 1e-3


class Bench:
    """Runs epochs of one network's shape; steps of one window share a compiled step."""

    def __init__(self, config: ModelConfig, step_events: int, repeats: int, device: torch.device) -> None:
        self._config = config
        self._step_events = step_events
        self._repeats = repeats
        self._device = device
        self._steps: dict[int, TrainStep] = {}

    def measure(self, series: str, events: int, history: int, window: int) -> dict[str, Any]:
        """One entry: the median epoch over `events` events in histories of about `history`, in rows of `window`."""
        started = time.perf_counter()
        data = random_histories(events, history, self._config.items)
        windows = Windows(data, window, self._step_events // window, self._config.start_token, self._device)
        if window not in self._steps:
            torch.manual_seed(1)
            network = RecBLR(self._config, _DROPOUT, _DROPOUT).to(self._device)
            negatives = negatives_of(Hyperparameters(), data, self._device)
            self._steps[window] = TrainStep(network, self._device, Crew(), negatives)
        step = self._steps[window]
        seconds = [self._epoch(windows, step, seed) for seed in range(self._repeats + 1)][1:]
        result = {
            "events": windows.targets,
            "history": float(data.lengths.mean()),
            "window": window,
            "steps": windows.steps_per_epoch,
            "seconds": statistics.median(seconds),
            "ns_per_event": statistics.median(seconds) / windows.targets * 1e9,
        }
        print(
            f"{series:9} {result['events']:>10,} events, histories of {result['history']:>8,.1f},"
            f" windows of {window:>5,}: {result['seconds']:.4f} s an epoch, {result['ns_per_event']:.1f} ns an event"
            f" ({time.perf_counter() - started:.1f} s to measure)",
            flush=True,
        )
        return result

    def _epoch(self, windows: Windows, step: TrainStep, seed: int) -> float:
        generator = torch.Generator(self._device).manual_seed(seed)
        started = time.perf_counter()
        losses = [step(batch, _RATE) for batch in windows.epoch(generator)]
        float(torch.stack(losses).mean())  # waits for the device
        return time.perf_counter() - started


def random_histories(events: int, history: int, items: int) -> Interactions:
    """Random rows in histories of 1 to about twice `history` events."""
    rng = np.random.default_rng(events + history)
    lengths = rng.integers(1, 2 * history, 2 * events // history + 2)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    offsets = np.append(offsets[offsets < events], events)
    rows = rng.integers(1, items + 1, events, dtype=np.int32)
    item_ids, user_ids = ([str(n) for n in range(count)] for count in (items, len(offsets) - 1))
    return Interactions(rows, offsets, item_ids, user_ids)


def relative(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The entries with each one's cost of an event as a multiple of the first one's."""
    return [entry | {"relative": entry["ns_per_event"] / entries[0]["ns_per_event"]} for entry in entries]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--events", type=int, default=1_000_000, help="events at 1 times the data (default: %(default)s)")
    add("--step-events", type=int, default=38_400, help="events in a step, 3,200 at least (default: %(default)s)")
    add("--items", type=int, default=3_416, help="catalogue size (default: %(default)s)")
    add("--dim", type=int, default=64, help="model width D (default: %(default)s)")
    add("--layers", type=int, default=2, help="number of layers L (default: %(default)s)")
    add("--repeats", type=int, default=3, help="epochs measured for each entry (default: %(default)s)")
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="(default: %(default)s)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if min(options.events, options.step_events) < max(WINDOWS) or options.repeats < 1:
        parser.error(f"--events and --step-events must be at least {max(WINDOWS)}, --repeats at least 1")
    device = torch.device(options.device)
    config = ModelConfig(items=options.items, dim=options.dim, layers=options.layers)
    bench = Bench(config, options.step_events, options.repeats, device)
    # Whole steps of the usual window, so that every entry there has the same shape and compiles once.
    once = options.step_events // WINDOW * WINDOW
    sizes = [-(-options.events // once) * times * once - WINDOW + 1 for times in TIMES]
    middle = sizes[len(sizes) // 2]
    result = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
        "config": config.to_dict(),
        "step_events": options.step_events,
        "data": relative([bench.measure("data", size, HISTORY, WINDOW) for size in sizes]),
        "histories": relative([bench.measure("histories", middle, history, WINDOW) for history in HISTORIES]),
        "windows": relative([bench.measure("windows", middle, HISTORY, window) for window in WINDOWS]),
    }
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
