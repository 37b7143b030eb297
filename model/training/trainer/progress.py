"""What a person sees while a model trains: a bar on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from model.training.data.interactions import Interactions

Report = Callable[[dict[str, Any]], None]

# Without a terminal: no longer than this without a word, in seconds.
_SILENCE = 30.0


class RunLog:
    """Writes every epoch to `metrics.jsonl` in the run's folder and shows it; `task` is said once, at the start."""

    def __init__(self, folder: Path, epochs: int, task: str) -> None:
        self._epochs = epochs
        self._said = 0.0
        self._file = (folder / "metrics.jsonl").open("a", encoding="utf-8")
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
        self._validation = ""
        self._opening = task

    def __enter__(self) -> Self:
        self._console.print(self._opening, highlight=False)
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        self._file.close()

    def __call__(self, line: dict[str, Any]) -> None:
        """Take one epoch's figures."""
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        if "diverged" in line:
            self._console.print(
                f"the loss is not a number in epoch {line['epoch']}; beginning again at half the learning rate, "
                f"{line['learning_rate']:.3g}",
                highlight=False,
                soft_wrap=True,
            )
            return
        if "validation_ndcg@10" in line:
            self._validation = f"validation NDCG@10 {line['validation_ndcg@10']:.4f} (best {line['best']:.4f})"
        if not self._console.is_terminal and ("best" in line or time.monotonic() - self._said > _SILENCE):
            self._said = time.monotonic()
            left = line["seconds"] * (self._epochs - line["epoch"]) / 60
            self._console.print(
                f"epoch {line['epoch']}/{self._epochs}: loss {line['loss']:.4f} {self._validation} "
                f"(at this rate at most {left:.0f} more minutes)",
                highlight=False,
                soft_wrap=True,
            )
        description = f"loss {line['loss']:.4f}  {self._validation}"
        self._bar.update(self._task, completed=line["epoch"], description=description)


def epoch_log(folder: Path, epochs: int, task: str, speaks: bool) -> AbstractContextManager[Report]:
    """A `RunLog` for the process that speaks for all, and silence for the others."""
    return RunLog(folder, epochs, task) if speaks else nullcontext(_nothing)


def _nothing(line: dict[str, Any]) -> None:
    """Said by another process."""


def opening(data: Interactions, epochs: int, device: torch.device) -> str:
    """What is about to happen, in one sentence."""
    return (
        f"training on {device}: {len(data.rows):,} events of {len(data.user_ids):,} users, "
        f"{len(data.item_ids):,} items, at most {epochs} epochs"
    )
