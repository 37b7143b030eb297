"""Progress of a training run, in a file and on stderr.

The file is `metrics.jsonl` in the run's folder; stderr shows a bar, or a line now and then.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

METRICS_FILE = "metrics.jsonl"
# Without a terminal a line is printed at every validation, and at least this often.
_MAX_SILENCE_SECONDS = 30.0

ReportEpoch = Callable[[dict[str, Any]], None]


class EpochLog:
    """Write each epoch to `metrics.jsonl` and show the progress.

    Called with the figures of an epoch, as `Trainer` reports them. Use as a context manager.
    """

    def __init__(self, folder: Path, epochs: int, title: str) -> None:
        self._epochs = epochs
        self._title = title
        self._validation = ""
        self._printed_at = 0.0
        self._file = (folder / METRICS_FILE).open("a+b", buffering=0)
        self._end_last_line()
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("epoch {task.completed:.0f}/{task.total:.0f}"),
            BarColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("", total=epochs)

    def __enter__(self) -> Self:
        self._console.print(self._title, highlight=False)
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        self._file.close()

    def __call__(self, entry: dict[str, Any]) -> None:
        """Record the figures of one epoch."""
        self._file.write(json.dumps(entry).encode() + b"\n")
        if "diverged" in entry:
            self._print(
                f"epoch {entry['epoch']}: the loss is not finite; restarting the training at half the learning rate, "
                f"learning_rate={entry['learning_rate']:.3g}"
            )
            return
        if "validation_ndcg@10" in entry:
            self._validation = f"validation NDCG@10 {entry['validation_ndcg@10']:.4f} (best {entry['best']:.4f})"
        is_due = "best" in entry or time.monotonic() - self._printed_at > _MAX_SILENCE_SECONDS
        if not self._console.is_terminal and is_due:
            self._printed_at = time.monotonic()
            minutes = entry["seconds"] * (self._epochs - entry["epoch"]) / 60
            self._print(
                f"epoch {entry['epoch']}/{self._epochs}: loss {entry['loss']:.4f} {self._validation} "
                f"(at most {minutes:.0f} more minutes)"
            )
        description = f"loss {entry['loss']:.4f}  {self._validation}"
        self._bar.update(self._task, completed=entry["epoch"], description=description)

    def _end_last_line(self) -> None:
        """End the half line that a killed run may have left."""
        if self._file.seek(0, os.SEEK_END):
            self._file.seek(-1, os.SEEK_CUR)
            if self._file.read(1) != b"\n":
                self._file.write(b"\n")

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False, soft_wrap=True)


def open_epoch_log(
    folder: Path, epochs: int, title: str, *, enabled: bool = True
) -> AbstractContextManager[ReportEpoch]:
    """Open the `EpochLog` of a run; with `enabled=False` the figures are ignored.

    Only one of the processes that train a model together writes the log.
    """
    return EpochLog(folder, epochs, title) if enabled else nullcontext(_ignore)


def read_epochs(folder: Path) -> list[dict[str, Any]]:
    """Read the epochs of a run from its `metrics.jsonl`, in order.

    A resumed run repeats the epochs after its last checkpoint: the last entry of an epoch counts.
    """
    path = folder / METRICS_FILE
    epochs: dict[int, dict[str, Any]] = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
                epochs[int(entry["epoch"])] = entry
            except (ValueError, KeyError, TypeError):
                continue  # a killed run can leave half a line
    return [epochs[number] for number in sorted(epochs)]


def _ignore(entry: dict[str, Any]) -> None:
    """Discard the figures: another process of the run writes them."""
