"""Data-parallel training in several processes, started by `torchrun`.

Every process draws the same batches and takes its shard of the rows, so that only gradients are exchanged. Their sum
is the gradient of the whole batch: the result is independent of the number of processes, apart from rounding and
from the random numbers of dropout.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from model.training.trainer.sequence_packing import Batch


@dataclass(frozen=True, slots=True)
class Processes:
    """Processes that train one model; this one is number `rank`."""

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """True in the one process that writes files and prints."""
        return self.rank == 0

    def shard(self, batch: Batch) -> Batch:
        """Return this process's rows of a batch."""
        rows = slice(self.rank, None, self.count)
        return batch.map(lambda field: field[rows])

    def all_reduce(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all processes, in one message."""
        if self.count == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        for tensor, total in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(total.view_as(tensor))

    def broadcast(self, value: float, device: torch.device) -> float:
        """Return the `value` of the first process."""
        if self.count == 1:
            return value
        shared = torch.tensor(value, dtype=torch.float64, device=device)
        dist.broadcast(shared, 0)
        return float(shared)


SINGLE_PROCESS = Processes()


def is_first_process() -> bool:
    """Return whether this process prints, before the processes have joined."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def join_processes(device: torch.device) -> Iterator[tuple[Processes, torch.device]]:
    """Join the processes that `torchrun` started.

    Yields the processes, and the device of this one. Without `torchrun` there is one process, on `device`.
    """
    if "WORLD_SIZE" not in os.environ:
        yield SINGLE_PROCESS, device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    yield Processes(dist.get_rank(), dist.get_world_size()), device
    # Not after an error: the other processes may never reach the barrier, and torchrun ends them.
    dist.barrier()
    dist.destroy_process_group()
