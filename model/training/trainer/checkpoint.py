"""A run's state on disk, so that a killed run goes on where it stood. Tensors as safetensors, numbers as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from model.training.errors import DataError

_FILE = "checkpoint.safetensors"
_RESULT = "result.json"


@dataclass(slots=True)
class Checkpoint:
    """What a run needs to go on after a whole number of epochs.

    numbers  `epoch` and `step` (done), `best`, `best_epoch`, `stale`, and what identifies the run
    tensors  network parameters under `model.`, the best ones under `best.`, Adam's under `adam.`
    """

    numbers: dict[str, Any]
    tensors: dict[str, Tensor]


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Replace the folder's checkpoint in one step."""
    aside = folder / f".{_FILE}"
    tensors = {name: tensor.detach().contiguous() for name, tensor in checkpoint.tensors.items()}
    save_file(tensors, aside, metadata={"numbers": json.dumps(checkpoint.numbers)})
    aside.replace(folder / _FILE)


def load_checkpoint(folder: Path, run: dict[str, Any], device: torch.device) -> Checkpoint | None:
    """The folder's checkpoint, or None if it has none; raises `DataError` if it belongs to another run."""
    path = folder / _FILE
    if not path.exists():
        return None
    with safe_open(path, framework="pt", device=str(device)) as file:
        numbers = json.loads(file.metadata()["numbers"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    if numbers["run"] != run:
        raise _another(folder)
    return Checkpoint(numbers, tensors)


def save_result(folder: Path, run: dict[str, Any], result: dict[str, Any]) -> None:
    """Note that the run in the folder is finished."""
    aside = folder / f".{_RESULT}"
    aside.write_text(json.dumps({"run": run, "result": result}, indent=2) + "\n", encoding="utf-8")
    aside.replace(folder / _RESULT)


def load_result(folder: Path, run: dict[str, Any]) -> dict[str, Any] | None:
    """The result of the finished run in the folder, or None; raises `DataError` if it is of another run."""
    try:
        found = json.loads((folder / _RESULT).read_bytes())
        result: dict[str, Any] = found["result"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{folder / _RESULT} is damaged; remove it, and the same command writes it again") from None
    if found["run"] != run:
        raise _another(folder)
    return result


def _another(folder: Path) -> DataError:
    return DataError(f"{folder} holds a run with other settings or data; give --out another folder, or remove it")
