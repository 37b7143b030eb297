"""Several processes train one model (`torchrun`): each takes its share of every batch, gradients are summed.

All processes draw the same batches, so nothing but gradients has to travel. The sum is the gradient of the whole
batch, so the result does not depend on the number of processes but for rounding and for dropout's own numbers.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from model.training.trainer.sequence_packing import Batch


@dataclass(frozen=True, slots=True)
class Crew:
    """The processes of a run, of which this one is `rank` of `size`."""

    rank: int = 0
    size: int = 1

    def share(self, batch: Batch) -> Batch:
        """This process' rows of a batch."""
        mine = slice(self.rank, None, self.size)
        return batch.each(lambda field: field[mine])

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all processes, in one message."""
        if self.size == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        for tensor, total in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(total.view_as(tensor))

    def agree(self, value: float, device: torch.device) -> float:
        """The first process' `value`, everywhere."""
        if self.size == 1:
            return value
        shared = torch.tensor(value, dtype=torch.float64, device=device)
        dist.broadcast(shared, 0)
        return float(shared)


def join(device: torch.device) -> tuple[Crew, torch.device]:
    """The crew that `torchrun` started this process for, and its own device; a crew of one without `torchrun`."""
    if "WORLD_SIZE" not in os.environ:
        return Crew(), device
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return Crew(dist.get_rank(), dist.get_world_size()), device


def leave(crew: Crew) -> None:
    """Close the crew's connections once all have arrived here."""
    if crew.size > 1:
        dist.barrier()
        dist.destroy_process_group()
