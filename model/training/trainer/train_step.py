"""One optimisation step: forward, loss, backward and Adam.

A step of this small network is bound by kernel launches, not by arithmetic. On a GPU the layers are therefore
compiled, and the whole step is captured once as a CUDA graph and replayed.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from model.layers import Segments
from model.network import RecBLR
from model.ops.softmax_loss.full import softmax_loss
from model.ops.softmax_loss.sampled import Negatives, sampled_softmax_loss
from model.training.data.interactions import Interactions
from model.training.trainer.distributed import Processes
from model.training.trainer.hyperparameters import Hyperparameters
from model.training.trainer.sequence_packing import Batch
from model.training.trainer.soft_targets import SoftTargets

# On a CPU a step works on parts of its rows, whose activations stay in the cache. Each part writes a gradient of the
# whole table, so parts of a large catalogue are larger.
_CPU_PART_EVENTS = 4096
# Steps before the capture: they compile the kernels and create Adam's buffers.
_EAGER_STEPS = 3


class TrainStep:
    """Optimise a network on batches of one shape.

    The loss is the cross-entropy of the softmax over all items, as in the paper (Liu et al., CIKM 2024), or over
    sampled negatives. On a GPU matrix products run in bfloat16 (autocast); weights, norms, the recurrence and Adam
    stay in float32.
    """

    def __init__(
        self,
        network: RecBLR,
        device: torch.device,
        processes: Processes,
        negatives: Negatives | None = None,
        soft_targets: SoftTargets | None = None,
        part_events: int | None = None,
        table_decay: float = 0.0,
    ) -> None:
        """Create Adam and, on a GPU, compile the layers.

        Args:
            network: the network, on `device`.
            device: device of the network and the batches.
            processes: the processes that train the network together.
            negatives: sampler of negatives; None means the full softmax.
            soft_targets: distributions to learn besides the targets; they need the full softmax.
            part_events: events whose activations exist at a time; None: all on a GPU, what the cache holds on a CPU.
            table_decay: weight decay of the item table, times the learning rate.
        """
        self._network = network
        self._negatives = negatives
        self._table_decay = table_decay
        self._soft_targets = soft_targets
        self._device = device
        self._processes = processes
        self._on_gpu = device.type == "cuda"
        if part_events is None and not self._on_gpu:
            part_events = max(_CPU_PART_EVENTS, network.config.items)
        self._part_events = part_events
        self._learning_rate = torch.zeros((), device=device)
        self._target_count = torch.zeros((), device=device)
        self._adam = torch.optim.Adam(
            network.parameters(),
            lr=self._learning_rate if self._on_gpu else 0.0,
            fused=True,
            capturable=self._on_gpu,
        )
        # Compiled one by one, the layers share one program: compiling takes as long for many layers as for one.
        self._layers = [
            torch.compile(layer, dynamic=False) if self._on_gpu else layer for layer in network.recurrent_layers
        ]
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._batch: Batch | None = None
        self._loss = torch.zeros((), device=device)

    def __call__(self, batch: Batch, learning_rate: float) -> Tensor:
        """Optimise on a batch.

        Args:
            batch: rows of all processes, of which this process takes its shard.
            learning_rate: Adam's learning rate.

        Returns:
            This process's part of the loss before the step: a new scalar on the device, which is not waited for.
            The sum of all parts is the mean over the batch's targets.
        """
        self._calls += 1
        self._target_count.copy_(batch.targets.count_nonzero())
        batch = self._processes.shard(batch)
        if not self._on_gpu:
            self._adam.param_groups[0]["lr"] = learning_rate
            return self._step(batch)
        self._learning_rate.fill_(learning_rate)
        if self._batch is None:
            self._batch = batch.map(Tensor.clone)
        for captured, given in zip(self._batch, batch, strict=True):
            captured.copy_(given)
        if self._graph is not None:
            self._graph.replay()
        elif self._calls <= _EAGER_STEPS:
            self._loss = self._step_on_side_stream(self._batch)
        else:
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self._loss = self._step(self._batch)
            self._graph.replay()
        return self._loss.clone()

    def adam_state(self) -> dict[str, Tensor]:
        """Return Adam's buffers as `INDEX_OF_PARAMETER.BUFFER`."""
        return {
            f"{index}.{name}": torch.as_tensor(value)
            for index, buffers in self._adam.state_dict()["state"].items()
            for name, value in buffers.items()
        }

    def load_adam_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `adam_state` returned; call before the first step."""
        state: dict[int, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            index, name = key.split(".")
            state.setdefault(int(index), {})[name] = tensor
        self._adam.load_state_dict({"state": state, "param_groups": self._adam.state_dict()["param_groups"]})
        if self._on_gpu:
            self._adam.param_groups[0]["lr"] = self._learning_rate  # load_state_dict replaces it by a copy

    def reset_adam(self) -> None:
        """Set Adam's buffers to zero, in place.

        A captured CUDA graph writes to these very buffers.
        """
        for buffers in self._adam.state.values():
            for value in buffers.values():
                value.zero_()

    def _step_on_side_stream(self, batch: Batch) -> Tensor:
        """Run a step on a side stream.

        CUDA graphs require that before the capture.
        """
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            loss = self._step(batch)
        torch.cuda.current_stream().wait_stream(stream)
        return loss

    def _step(self, batch: Batch) -> Tensor:
        """Optimise on a batch, whose gradient is summed over parts."""
        B, T = batch.inputs.shape
        rows = B if self._part_events is None else max(1, self._part_events // T)
        negatives = None if self._negatives is None else self._negatives.draw(batch.targets.flatten())
        self._adam.zero_grad(set_to_none=True)
        losses = []
        for begin in range(0, B, rows):
            part = batch.map(lambda tensor: tensor[begin : begin + rows])  # noqa: B023 - called at once
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self._on_gpu, cache_enabled=False):
                outputs = self._forward(part)
            loss = self._softmax_loss(outputs.flatten(0, 1), part.map(Tensor.flatten), negatives)
            torch.autograd.backward(loss)
            losses.append(loss.detach())
        gradients = [parameter.grad for parameter in self._network.parameters() if parameter.grad is not None]
        self._processes.all_reduce(gradients)
        self._adam.step()
        if self._table_decay:
            with torch.no_grad():
                rate = self._learning_rate if self._on_gpu else self._adam.param_groups[0]["lr"]
                self._network.item_embedding.weight.mul_(1.0 - rate * self._table_decay)
        return losses[0] if len(losses) == 1 else torch.stack(losses).sum()

    def _forward(self, batch: Batch) -> Tensor:
        """Run the compiled layers; return outputs (B, T, D) without states."""
        segments = Segments.of(None, batch.starts)
        state = self._network.begin(batch.inputs.shape[0])
        u = self._network.embed(batch.inputs, batch.types)
        for index, layer in enumerate(self._layers):
            u, _ = layer(u, state[:, index], segments)
        return u

    def _softmax_loss(self, outputs: Tensor, batch: Batch, negatives: tuple[Tensor, Tensor] | None) -> Tensor:
        """Return the loss of outputs (N, D).

        The fields of the batch have the shape (N,).
        """
        outputs = outputs.to(torch.bfloat16 if self._on_gpu else torch.float32)
        table = self._network.item_embedding.weight
        targets, count = batch.targets, self._target_count
        if negatives is None:
            taught = None if self._soft_targets is None else self._soft_targets.of(batch.events)
            return softmax_loss(
                outputs, table.to(outputs.dtype), targets, count, weights=batch.weights, soft_labels=taught
            )
        return sampled_softmax_loss(outputs, table, targets, negatives, count, weights=batch.weights)


def negative_sampler(hyperparameters: Hyperparameters, data: Interactions, device: torch.device) -> Negatives | None:
    """Create the sampler of negatives, None for the full softmax.

    Catalogues up to `full_softmax` items use the full softmax (decision 0018).
    """
    if len(data.item_ids) <= hyperparameters.full_softmax:
        return None
    return Negatives(torch.from_numpy(data.popularity()).to(device), hyperparameters.negatives)
