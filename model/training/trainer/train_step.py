"""One optimisation step, as few launches as the device allows.

On a GPU the network is compiled, and the whole step (forward, loss, backward, Adam) is captured once as a CUDA
graph and replayed: a step of this small network is otherwise bound by launches, not by arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from model.layers import Segments
from model.network import RecBLR
from model.ops.softmax.full import softmax_loss
from model.ops.softmax.sampled import Negatives, sampled_softmax_loss
from model.training.data.interactions import Interactions
from model.training.trainer.distributed import Crew
from model.training.trainer.hyperparameters import Hyperparameters
from model.training.trainer.sequence_packing import Batch
from model.training.trainer.soft_targets import SoftTargets

# Steps run eagerly before the capture: they compile kernels and create Adam's buffers.
_WARM_UP = 3


class TrainStep:
    """Runs steps on batches of one shape.

    On a GPU matrix products run in bfloat16 (autocast); weights, norms, the recurrence and Adam stay in float32. The
    loss is the full softmax, or with `negatives` the sampled one. A `lesson` says what a position is to predict
    besides its target; it needs the full softmax.
    """

    def __init__(
        self,
        network: RecBLR,
        device: torch.device,
        crew: Crew,
        negatives: Negatives | None = None,
        soft_targets: SoftTargets | None = None,
    ) -> None:
        self._network = network
        self._negatives = negatives
        self._soft_targets = soft_targets
        self._device = device
        self._crew = crew
        self._on_gpu = device.type == "cuda"
        self._rate = torch.zeros((), device=device)
        self._targets = torch.zeros((), device=device)
        self._adam = torch.optim.Adam(
            network.parameters(), lr=self._rate if self._on_gpu else 0.0, fused=self._on_gpu, capturable=self._on_gpu
        )
        # Layer by layer: they share one compiled program, so the compiler's time does not grow with their number.
        self._layers = [
            torch.compile(layer, dynamic=False) if self._on_gpu else layer for layer in network.recurrent_layers
        ]
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._batch: Batch | None = None
        self._loss = torch.zeros((), device=device)

    def __call__(self, batch: Batch, learning_rate: float) -> Tensor:
        """This process' part of the loss before the step, a scalar on the device (a new tensor each time).

        `batch` is the whole crew's; the parts' sum is the mean over its targets.
        """
        self._calls += 1
        self._targets.copy_(batch.targets.count_nonzero())
        batch = self._crew.share(batch)
        if not self._on_gpu:
            self._adam.param_groups[0]["lr"] = learning_rate
            return self._step(batch)
        self._rate.fill_(learning_rate)
        if self._batch is None:
            self._batch = batch.each(Tensor.clone)
        for mine, given in zip(self._batch, batch, strict=True):
            mine.copy_(given)
        if self._graph is not None:
            self._graph.replay()
        elif self._calls <= _WARM_UP:
            self._loss = self._on_side_stream(self._batch)
        else:
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self._loss = self._step(self._batch)
            self._graph.replay()
        return self._loss.clone()

    def adam_state(self) -> dict[str, Tensor]:
        """Adam's buffers by name, `<parameter's index>.<buffer>`."""
        return {
            f"{index}.{name}": torch.as_tensor(value)
            for index, buffers in self._adam.state_dict()["state"].items()
            for name, value in buffers.items()
        }

    def load_adam_state(self, tensors: Mapping[str, Tensor]) -> None:
        """The inverse of `adam_state`, before the first step."""
        state: dict[int, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            index, name = key.split(".")
            state.setdefault(int(index), {})[name] = tensor
        self._adam.load_state_dict({"state": state, "param_groups": self._adam.state_dict()["param_groups"]})
        if self._on_gpu:
            self._adam.param_groups[0]["lr"] = self._rate  # loading has put a copy in its place

    def forget(self) -> None:
        """Adam begins anew. In place, for a captured graph writes to these very buffers."""
        for buffers in self._adam.state.values():
            for value in buffers.values():
                value.zero_()

    def _on_side_stream(self, batch: Batch) -> Tensor:
        """Warm-up as capturing demands it: on another stream than the default one."""
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            loss = self._step(batch)
        torch.cuda.current_stream().wait_stream(stream)
        return loss

    def _step(self, batch: Batch) -> Tensor:
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._on_gpu, cache_enabled=False):
            outputs = self._outputs(batch.inputs, batch.starts)
        loss = self._softmax(outputs.flatten(0, 1), batch.each(Tensor.flatten))
        self._adam.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self._crew.sum([parameter.grad for parameter in self._network.parameters() if parameter.grad is not None])
        self._adam.step()
        return loss.detach()

    def _softmax(self, outputs: Tensor, batch: Batch) -> Tensor:
        outputs = outputs.to(torch.bfloat16 if self._on_gpu else torch.float32)
        table = self._network.item_embedding.weight
        targets, count = batch.targets, self._targets
        if self._negatives is None:
            taught = None if self._soft_targets is None else self._soft_targets.of(batch.events)
            return softmax_loss(
                outputs, table.to(outputs.dtype), targets, count, weights=batch.weights, soft_labels=taught
            )
        negatives = self._negatives.draw(targets)
        return sampled_softmax_loss(outputs, table, targets, negatives, count, weights=batch.weights)

    def _outputs(self, items: Tensor, starts: Tensor) -> Tensor:
        """What `RecBLR.forward` gives, without the states."""
        segments = Segments.of(None, starts)
        state = self._network.begin(items.shape[0])
        u = self._network.embed(items)
        for index, layer in enumerate(self._layers):
            u, _ = layer(u, state[:, index], segments)
        return u


def negatives_of(hyperparameters: Hyperparameters, data: Interactions, device: torch.device) -> Negatives | None:
    """What the recipe says of a catalogue this large, as `TrainStep` takes it."""
    if len(data.item_ids) <= hyperparameters.full_softmax:
        return None
    return Negatives(torch.from_numpy(data.popularity()).to(device), hyperparameters.negatives)
