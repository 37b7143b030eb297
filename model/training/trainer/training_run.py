"""Inputs of a training run."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from model.config import ModelConfig
from model.training.data.interactions import Interactions
from model.training.trainer.distributed import SINGLE_PROCESS, Processes
from model.training.trainer.hyperparameters import Hyperparameters


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """Inputs of a run, and the folder of its checkpoint and metrics."""

    data: Interactions
    config: ModelConfig
    hyperparameters: Hyperparameters
    folder: Path
    device: torch.device
    processes: Processes = SINGLE_PROCESS

    def identity(self) -> dict[str, Any]:
        """Return what decides the result, ready for JSON.

        Runs of equal identity can resume each other.
        """
        crc32 = zlib.crc32(self.data.offsets.data, zlib.crc32(self.data.rows.data))
        if self.data.types is not None:
            crc32 = zlib.crc32(self.data.types.codes.data, crc32)
        item_ids = hashlib.sha256("\0".join(self.data.item_ids).encode()).hexdigest()[:16]
        return {
            "config": self.config.to_dict(),
            "hyperparameters": self.hyperparameters.to_dict(),
            "data": self.data.summary() | {"crc32": crc32, "item_ids": item_ids},
        }
