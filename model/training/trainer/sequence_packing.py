"""Training rows: each epoch lays all histories end to end, in a new order, and cuts the stream into rows.

A causal model with the loss at every position sees the same (prefix, target) pairs as one row for each prefix, at
about 1/200 of the work. A row that begins inside a history shows little context to its first positions; that acts
as augmentation (design section 2, measured). Where a history ends inside a row the next one begins there, from a
zero state, so that there is no padding and every row costs the same whatever the histories' lengths are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from model.training.data.interactions import Interactions

# Events that are laid out and shuffled at a time: bounds memory, at about 50 bytes each.
_PART = 1 << 22


class Batch(NamedTuple):
    """Training rows; every field is (B, T).

    inputs   rows of the embedding table
    targets  rows, 0 where there is none
    starts   bool, where histories begin
    events   the target's place among the data's events; anything where there is no target
    weights  how much the target counts, 1 on average over the data
    """

    inputs: Tensor
    targets: Tensor
    starts: Tensor
    events: Tensor
    weights: Tensor

    def each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """The batch with every field changed alike."""
        return Batch(*map(change, self))


class Windows:
    """Draws batches of at most `batch` rows of `length` steps, on `device`, where all data lie if they fit.

    With `start_token` each history begins with row 0, whose target is the first event; without, its first event
    is an input only. Apart from that every event is a target exactly once an epoch: `targets` in all. Rows are
    shuffled among those of a part of the histories, which are in random order themselves. An event of a history of n
    counts in proportion to n^-balance.
    """

    def __init__(
        self,
        data: Interactions,
        length: int,
        batch: int,
        start_token: bool,
        device: torch.device,
        balance: float = 0.0,
    ) -> None:
        self._device = device
        home = _home(data.rows.nbytes, device)
        self._rows = torch.from_numpy(data.rows).to(home)
        self._first = torch.from_numpy(data.offsets[:-1]).to(home)
        self._length = length
        self._start_token = start_token
        steps = torch.from_numpy(data.lengths).to(home) - (0 if start_token else 1)
        self._steps = steps.clamp(min=0)
        self.targets = int(self._steps.sum())
        weights = self._steps.clamp(min=1).double() ** -balance
        self._weights = (weights * self.targets / max(1.0, float(weights @ self._steps.double()))).float()
        # The random phase may lengthen the stream by almost one row.
        rows = -(-(self.targets + length - 1) // length)
        self.steps_per_epoch = -(-rows // batch)
        # As many steps with as few rows as it takes: empty rows would cost as much as full ones.
        self._batch = -(-rows // self.steps_per_epoch)

    def epoch(self, generator: torch.Generator) -> Iterator[Batch]:
        """The batches of one epoch; all have the same shape, what is left over is filled with empty targets."""
        order = torch.randperm(len(self._steps), generator=generator, device=self._device)
        phase = int(torch.randint(0, self._length, (1,), generator=generator, device=self._device))
        nothing = torch.zeros(phase, dtype=torch.int32, device=self._device)
        rest = Batch(nothing, nothing, nothing.bool(), nothing.long(), nothing.float())
        size = self._batch * self._length
        missing = self.steps_per_epoch * size
        for users, last in self._parts(order.to(self._rows.device)):
            new = self._stream(users)
            whole = missing if last else (len(rest.inputs) + len(new.inputs)) // size * size
            ready, rest = _cut(rest, new, whole)
            missing -= whole
            rows = torch.randperm(whole // self._length, generator=generator, device=self._device)
            for chosen in rows.view(-1, self._batch):
                batch = Batch(*(field.view(-1, self._length)[chosen] for field in ready))
                yield batch._replace(inputs=batch.inputs.long(), targets=batch.targets.long())

    def _parts(self, order: Tensor) -> Iterator[tuple[Tensor, bool]]:
        """Users of about `_PART` events, and whether they are the last."""
        ends = [len(order)]
        if self.targets > _PART:
            marks = torch.arange(_PART, self.targets, _PART, device=order.device)
            cuts = torch.searchsorted(self._steps[order].cumsum(0), marks) + 1
            ends = sorted({*cuts.tolist(), *ends})
        for begin, end in pairwise([0, *ends]):
            yield order[begin:end], end == len(order)

    def _stream(self, order: Tensor) -> Batch:
        """The histories of these users end to end, as one row of steps."""
        home = order.device
        steps, first = self._steps[order], self._first[order]
        total = self.targets if len(order) == len(self._steps) else int(steps.sum())
        history = torch.arange(len(order), device=home).repeat_interleave(steps, output_size=total)
        begin = steps.cumsum(0) - steps
        nth = torch.arange(total, device=home) - begin[history]
        event = first[history] + nth + (0 if self._start_token else 1)
        starts = nth == 0
        inputs = self._rows[(event - 1).clamp(min=0)]
        if self._start_token:
            inputs = torch.where(starts, 0, inputs)
        batch = Batch(inputs, self._rows[event], starts, event, self._weights[order][history])
        return batch.each(lambda field: field.to(self._device))


def _home(size: int, device: torch.device) -> torch.device:
    """Where data of so many bytes lie: on the device if they leave most of its memory to the network."""
    if device.type == "cuda" and size > torch.cuda.mem_get_info(device)[0] // 4:
        return torch.device("cpu")
    return device


def _cut(rest: Batch, new: Batch, whole: int) -> tuple[Batch, Batch]:
    """The first `whole` steps of `rest` and `new` together, filled up if there are fewer, and what is left over."""
    stream = Batch(*(torch.cat([one, other]) for one, other in zip(rest, new, strict=True)))
    used = stream.each(lambda field: torch.nn.functional.pad(field[:whole], (0, max(0, whole - len(field)))))
    return used, stream.each(lambda field: field[whole:])
