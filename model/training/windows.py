"""Training windows: each epoch cuts every history anew, at a random phase, so that each event is a target once.

A causal model with the loss at every position sees the same (prefix, target) pairs as one row for each prefix, at
about 1/200 of the work. A start inside a history shows little context to the first positions; that acts as
augmentation (design section 2, measured).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from model.training.data import Interactions


@dataclass(frozen=True, slots=True)
class Batch:
    """inputs (B, T) rows; targets (B, T) rows, 0 where there is none. Padded on the right."""

    inputs: Tensor
    targets: Tensor


class Windows:
    """Draws batches of windows of `length` targets, with all data on `device`.

    With `start_token` each window begins with row 0 and that position predicts the window's first event, but only
    where the window stands at the true beginning of a history: row 0 then learns what people begin with.
    """

    def __init__(self, data: Interactions, length: int, batch: int, start_token: bool, device: torch.device) -> None:
        self._rows = torch.from_numpy(data.rows).to(device)
        self._starts = torch.from_numpy(data.offsets[:-1]).to(device)
        self._ends = torch.from_numpy(data.offsets[1:]).to(device)
        self._length = length
        self._batch = batch
        self._start_token = start_token
        # Windows of an epoch at the worst phase, so that the number of steps does not change between epochs.
        count = torch.div(self._ends - self._starts + 2 * length - 1, length, rounding_mode="floor")
        self._count = count
        self.steps_per_epoch = max(1, -(-self._total(phase_of=length // 2) // batch))

    def epoch(self, generator: torch.Generator) -> Iterator[Batch]:
        """The batches of one epoch, shuffled; the last may be smaller."""
        begins, histories = self._cut(generator)
        order = torch.randperm(len(begins), generator=generator, device=begins.device)
        for chosen in torch.split(order, self._batch):
            yield self._gather(begins[chosen], histories[chosen])

    def _total(self, phase_of: int) -> int:
        lengths = self._ends - self._starts
        return int(torch.div(lengths + phase_of + self._length - 1, self._length, rounding_mode="floor").sum())

    def _cut(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """First target position of every window (it may lie before the history's start), and its history."""
        users = torch.arange(len(self._starts), device=self._starts.device)
        phase = torch.randint(0, self._length, users.shape, generator=generator, device=users.device)
        histories = users.repeat_interleave(self._count)
        first = self._count.cumsum(0) - self._count
        nth = torch.arange(len(histories), device=users.device) - first[histories]
        begins = self._starts[histories] - phase[histories] + nth * self._length
        inside = (begins < self._ends[histories]) & (begins + self._length > self._starts[histories])
        return begins[inside], histories[inside]

    def _gather(self, begins: Tensor, histories: Tensor) -> Batch:
        start, end = self._starts[histories], self._ends[histories]
        begin = torch.maximum(begins, start)
        stop = torch.minimum(begins + self._length, end)
        offset = torch.arange(self._length, device=begins.device)
        position = begin[:, None] + offset
        valid = position < stop[:, None]
        last = len(self._rows) - 1
        targets = torch.where(valid, self._rows[position.clamp(max=last)], 0).long()
        previous = self._rows[(position - 1).clamp(min=0, max=last)].long()
        if self._start_token:
            inputs = torch.where(offset == 0, 0, previous)
            targets[:, 0] = torch.where(begin == start, targets[:, 0], 0)
        else:
            # Without a token the window's first event is an input only.
            inputs = previous[:, 1:]
            targets = targets[:, 1:]
        return Batch(inputs, targets)
