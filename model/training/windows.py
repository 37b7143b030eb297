"""Training rows: each epoch lays all histories end to end, in a new order, and cuts the stream into rows.

A causal model with the loss at every position sees the same (prefix, target) pairs as one row for each prefix, at
about 1/200 of the work. A row that begins inside a history shows little context to its first positions; that acts
as augmentation (design section 2, measured). Where a history ends inside a row the next one begins there, from a
zero state, so that there is no padding and every row costs the same whatever the histories' lengths are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from model.training.data import Interactions


@dataclass(frozen=True, slots=True)
class Batch:
    """inputs (B, T) rows; targets (B, T) rows, 0 where there is none; starts (B, T) bool, where histories begin."""

    inputs: Tensor
    targets: Tensor
    starts: Tensor


class Windows:
    """Draws batches of at most `batch` rows of `length` steps, with all data on `device`.

    With `start_token` each history begins with row 0, whose target is the first event; without, its first event
    is an input only. Apart from that every event is a target exactly once an epoch: `targets` in all.
    """

    def __init__(self, data: Interactions, length: int, batch: int, start_token: bool, device: torch.device) -> None:
        self._rows = torch.from_numpy(data.rows).to(device)
        self._first = torch.from_numpy(data.offsets[:-1]).to(device)
        self._length = length
        self._start_token = start_token
        steps = torch.from_numpy(data.lengths).to(device) - (0 if start_token else 1)
        self._steps = steps.clamp(min=0)
        self.targets = int(self._steps.sum())
        # The random phase may lengthen the stream by almost one row.
        rows = -(-(self.targets + length - 1) // length)
        self.steps_per_epoch = -(-rows // batch)
        # As many steps with as few rows as it takes: empty rows would cost as much as full ones.
        self._batch = -(-rows // self.steps_per_epoch)

    def epoch(self, generator: torch.Generator) -> Iterator[Batch]:
        """The batches of one epoch; all have the same shape, what is left over is filled with empty targets."""
        stream = self._stream(generator)
        phase = int(torch.randint(0, self._length, (1,), generator=generator, device=self._rows.device))
        size = self.steps_per_epoch * self._batch * self._length
        rows = [_fill(part, phase, size).view(-1, self._length) for part in (stream.inputs, stream.targets)]
        starts = _fill(stream.starts, phase, size).view(-1, self._length)
        order = torch.randperm(len(starts), generator=generator, device=starts.device)
        for chosen in order.view(-1, self._batch):
            yield Batch(rows[0][chosen], rows[1][chosen], starts[chosen])

    def _stream(self, generator: torch.Generator) -> Batch:
        """All histories end to end in a random order, as one row of steps."""
        device = self._rows.device
        order = torch.randperm(len(self._steps), generator=generator, device=device)
        steps, first = self._steps[order], self._first[order]
        history = torch.arange(len(order), device=device).repeat_interleave(steps, output_size=self.targets)
        begin = steps.cumsum(0) - steps
        nth = torch.arange(self.targets, device=device) - begin[history]
        event = first[history] + nth
        starts = nth == 0
        if self._start_token:
            inputs = torch.where(starts, 0, self._rows[(event - 1).clamp(min=0)])
            return Batch(inputs.long(), self._rows[event].long(), starts)
        return Batch(self._rows[event].long(), self._rows[event + 1].long(), starts)


def _fill(stream: Tensor, phase: int, size: int) -> Tensor:
    filled = stream.new_zeros(size)
    filled[phase : phase + len(stream)] = stream
    return filled
