"""What a person sees while a model trains: a bar on a terminal, a line for each validation elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


class RunLog:
    """Writes every epoch to `metrics.jsonl` in the run's folder and shows it."""

    def __init__(self, folder: Path, epochs: int) -> None:
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

    def __enter__(self) -> Self:
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
        if "validation_ndcg@10" in line:
            self._validation = f"validation NDCG@10 {line['validation_ndcg@10']:.4f} (best {line['best']:.4f})"
            if not self._console.is_terminal:
                self._console.print(f"epoch {line['epoch']}: loss {line['loss']:.4f}, {self._validation}")
        description = f"loss {line['loss']:.4f}  {self._validation}"
        self._bar.update(self._task, completed=line["epoch"], description=description)
