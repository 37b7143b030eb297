"""Checkpoint and result of a run, so that it can resume.

Tensors are stored as safetensors and numbers as JSON; nothing is pickled.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ingest.errors import DataError

CHECKPOINT_FILE = "checkpoint.safetensors"
RESULT_FILE = "result.json"


@dataclass(slots=True)
class Checkpoint:
    """State of a run after a whole number of epochs.

    Attributes:
        numbers: the trainer's counters, ready for JSON; `run` is the run's identity.
        tensors: network parameters as `model.NAME`, the best ones as `best.NAME`, Adam's buffers as `adam.NAME`.
    """

    numbers: dict[str, Any]
    tensors: dict[str, Tensor]


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint of the run in `folder` atomically."""
    temporary = folder / f".{CHECKPOINT_FILE}"
    tensors = {name: tensor.detach().contiguous() for name, tensor in checkpoint.tensors.items()}
    save_file(tensors, temporary, metadata={"numbers": json.dumps(checkpoint.numbers)})
    temporary.replace(folder / CHECKPOINT_FILE)


def load_checkpoint(folder: Path, identity: dict[str, Any], device: torch.device) -> Checkpoint | None:
    """Load the checkpoint of a run, None if there is none.

    Raises:
        DataError: the checkpoint belongs to a run of another identity.
    """
    path = folder / CHECKPOINT_FILE
    if not path.exists():
        return None
    with safe_open(path, framework="pt", device=str(device)) as file:
        numbers = json.loads(file.metadata()["numbers"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    if numbers["run"] != identity:
        raise _other_run(folder)
    return Checkpoint(numbers, tensors)


def save_result(folder: Path, identity: dict[str, Any], result: dict[str, Any]) -> None:
    """Record that the run in `folder` is finished."""
    temporary = folder / f".{RESULT_FILE}"
    temporary.write_text(json.dumps({"run": identity, "result": result}, indent=2) + "\n", encoding="utf-8")
    temporary.replace(folder / RESULT_FILE)


def load_result(folder: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """Load the result of a run, None if it is not finished.

    Raises:
        DataError: the result is damaged, or belongs to a run of another identity.
    """
    try:
        found = json.loads((folder / RESULT_FILE).read_bytes())
        result: dict[str, Any] = found["result"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{folder / RESULT_FILE} is damaged; remove it and run the same command again") from None
    if found["run"] != identity:
        raise _other_run(folder)
    return result


def _other_run(folder: Path) -> DataError:
    return DataError(f"{folder} holds a run with other settings or data; give --out another folder, or remove it")
