"""Sequence packing: histories end to end, cut into training rows (decision 0015).

Each epoch puts the histories into a new random order and cuts them at new places. A causal model with the loss at
every position sees the same (prefix, target) pairs as one row per prefix would give, at about 1/200 of the work. A
row that begins inside a history gives little context to its first positions, which acts as augmentation. If a
history ends inside a row, the next one begins there from the initial state. So there is no padding, and every row
costs the same for histories of any length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from model.training.data.interactions import Interactions
from model.training.event_types.type_column import TypeColumn

# Events that are packed and shuffled at a time; bounds the memory, at about 50 bytes per event.
_EVENTS_PER_PART = 1 << 22


class Batch(NamedTuple):
    """Training rows; every field has the shape (B, T).

    Attributes:
        inputs: int64, rows of the embedding table; 0 is the start token.
        targets: int64, rows of the embedding table; 0 if the position has no target.
        starts: bool, True where a history begins.
        events: int64, index of the target among the events of the data; undefined without a target.
        weights: float32, weight of the target, 1 on average over the data; below 0, the target is made less likely.
        types: int64, type of the input; 0 is the default.
    """

    inputs: Tensor
    targets: Tensor
    starts: Tensor
    events: Tensor
    weights: Tensor
    types: Tensor

    def map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """Return the batch with the function applied to every field."""
        return Batch(*map(function, self))


class SequencePacker:
    """Draw the batches of an epoch.

    With a start token each history begins with row 0, whose target is the first event. Without one, the first event
    is an input only. Every other event is a target exactly once per epoch.

    Attributes:
        targets: number of targets in an epoch.
        steps_per_epoch: number of batches in an epoch.
    """

    def __init__(
        self,
        data: Interactions,
        row_length: int,
        max_rows: int,
        start_token: bool,
        device: torch.device,
        balance: float = 0.0,
    ) -> None:
        """Prepare the histories.

        Args:
            data: the histories to train on. They are copied to the device if they fit.
            row_length: steps per row, T.
            max_rows: largest number of rows per batch, B.
            start_token: whether the model has a start token.
            device: device of the batches.
            balance: an event in a history of n targets weighs in proportion to n^-balance.
        """
        self._device = device
        storage = _storage_device(data.rows.nbytes, device)
        self._rows = torch.from_numpy(data.rows).to(storage)
        self._first_event = torch.from_numpy(data.offsets[:-1]).to(storage)
        self._row_length = row_length
        self._start_token = start_token
        lengths = torch.from_numpy(data.lengths).to(storage) - (0 if start_token else 1)
        self._steps_of_user = lengths.clamp(min=0)
        self.targets = int(self._steps_of_user.sum())
        weights = self._steps_of_user.clamp(min=1).double() ** -balance
        total = float(weights @ self._steps_of_user.double())
        self._weight_of_user = (weights * self.targets / max(1.0, total)).float()
        codes = np.zeros(0, np.uint8) if data.types is None else data.types.codes
        self._types = torch.from_numpy(codes).to(storage)
        self._weight_of_type = _type_weights(data.types).to(storage)
        # The random phase can lengthen an epoch by almost one row.
        rows = -(-(self.targets + row_length - 1) // row_length)
        self.steps_per_epoch = -(-rows // max_rows)
        # The smallest batch that needs no more steps: empty rows would cost as much as full ones.
        self._batch_rows = -(-rows // self.steps_per_epoch)

    def epoch(self, generator: torch.Generator) -> Iterator[Batch]:
        """Yield the batches of one epoch, all of the same shape.

        The last batch is filled up with positions without targets. Rows are shuffled within a part of about
        4M events, and the histories over all parts.
        """
        order = torch.randperm(len(self._steps_of_user), generator=generator, device=self._device)
        phase = int(torch.randint(0, self._row_length, (1,), generator=generator, device=self._device))
        empty = torch.zeros(phase, dtype=torch.int32, device=self._device)
        rest = Batch(empty, empty, empty.bool(), empty.long(), empty.float(), empty.byte())
        batch_steps = self._batch_rows * self._row_length
        missing = self.steps_per_epoch * batch_steps
        for users, is_last in self._parts(order.to(self._rows.device)):
            packed = self._pack(users)
            count = missing if is_last else (len(rest.inputs) + len(packed.inputs)) // batch_steps * batch_steps
            ready, rest = _split(rest, packed, count)
            missing -= count
            shuffled = torch.randperm(count // self._row_length, generator=generator, device=self._device)
            for rows in shuffled.view(-1, self._batch_rows):
                batch = Batch(*(field.view(-1, self._row_length)[rows] for field in ready))
                yield batch._replace(
                    inputs=batch.inputs.long(), targets=batch.targets.long(), types=batch.types.long()
                )

    def _parts(self, order: Tensor) -> Iterator[tuple[Tensor, bool]]:
        """Yield users in parts of about `_EVENTS_PER_PART` events.

        The second value is True for the last part.
        """
        ends = [len(order)]
        if self.targets > _EVENTS_PER_PART:
            marks = torch.arange(_EVENTS_PER_PART, self.targets, _EVENTS_PER_PART, device=order.device)
            cuts = torch.searchsorted(self._steps_of_user[order].cumsum(0), marks) + 1
            ends = sorted({*cuts.tolist(), *ends})
        for begin, end in pairwise([0, *ends]):
            yield order[begin:end], end == len(order)

    def _pack(self, users: Tensor) -> Batch:
        """Lay the histories of these users end to end.

        Every field of the result has the shape (steps,).
        """
        device = users.device
        steps, first = self._steps_of_user[users], self._first_event[users]
        total = self.targets if len(users) == len(self._steps_of_user) else int(steps.sum())
        user = torch.arange(len(users), device=device).repeat_interleave(steps, output_size=total)
        begin = steps.cumsum(0) - steps
        step_of_user = torch.arange(total, device=device) - begin[user]
        event = first[user] + step_of_user + (0 if self._start_token else 1)
        starts = step_of_user == 0
        before, weights = (event - 1).clamp(min=0), self._weight_of_user[users][user]
        inputs, types = self._rows[before], torch.zeros(total, dtype=torch.uint8, device=device)
        if len(self._types):
            types, weights = self._types[before], weights * self._weight_of_type[self._types[event].long()]
        if self._start_token:
            inputs, types = torch.where(starts, 0, inputs), torch.where(starts, 0, types)
        packed = Batch(inputs, self._rows[event], starts, event, weights, types)
        return packed.map(lambda field: field.to(self._device))


def _type_weights(types: TypeColumn | None) -> Tensor:
    """Return the weight (T,) of each type as a target.

    The absolute values are 1 on average over the events.
    """
    if types is None:
        return torch.ones(1)
    weights, counts = torch.from_numpy(types.weights), torch.tensor([*types.counts().values()])
    return weights * counts.sum() / (weights.abs() * counts).sum().clamp(min=1e-9)


def _storage_device(size_bytes: int, device: torch.device) -> torch.device:
    """Return the device that stores the histories.

    A GPU stores them if they leave most of its memory to the network.
    """
    if device.type == "cuda" and size_bytes > torch.cuda.mem_get_info(device)[0] // 4:
        return torch.device("cpu")
    return device


def _split(rest: Batch, packed: Batch, count: int) -> tuple[Batch, Batch]:
    """Join `rest` and `packed`, and split them after `count` steps.

    If there are fewer steps, positions without targets are added.
    """
    steps = Batch(*(torch.cat(fields) for fields in zip(rest, packed, strict=True)))
    used = steps.map(lambda field: torch.nn.functional.pad(field[:count], (0, max(0, count - len(field)))))
    return used, steps.map(lambda field: field[count:])
