"""RecBLR: items in, outputs and recurrent state out (Liu et al. 2024, section 3; design section 2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.config import LAYER_NORM_EPS, ModelConfig
from model.layers import RecurrentLayer, Segments


class RecBLR(nn.Module):
    """The network. The recurrent state (B, L, K, H) is an argument and a result, never hidden in the module.

    Scores are products of an output with the embedding table: `output @ item_embedding.weight.T`.
    Where `config.start_token`, the caller begins a history with row 0. In training mode `embedding_dropout` is the
    probability with which what an embedding holds is dropped, `dropout` that within the layers.
    """

    initial_state: Tensor

    def __init__(self, config: ModelConfig, dropout: float = 0.0, embedding_dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.item_embedding = nn.Embedding(config.items + 1, config.dim)
        self.dropout = nn.Dropout(embedding_dropout)
        self.layer_norm = nn.LayerNorm(config.dim, eps=LAYER_NORM_EPS)
        self.recurrent_layers = nn.ModuleList(RecurrentLayer(config, dropout) for _ in range(config.layers))
        self.register_buffer("initial_state", torch.zeros(config.state_shape))
        self.apply(_initialise)

    def begin(self, batch: int) -> Tensor:
        """The state (batch, L, K, H) before any item."""
        return self.initial_state.expand(batch, *self.initial_state.shape)

    def embed(self, items: Tensor) -> Tensor:
        """What the first layer sees of items (...): (..., D)."""
        u: Tensor = self.layer_norm(self.dropout(self.item_embedding(items)))
        return u

    def forward(
        self,
        items: Tensor,
        state: Tensor | None = None,
        lengths: Tensor | None = None,
        starts: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Outputs (B, T, D) after every item, and the state (B, L, K, H) after each history's last.

        items (B, T) rows of the embedding table, padded on the right with anything; lengths (B,) valid items in
        each history, None meaning T; state as returned by an earlier call, None meaning `begin`; starts (B, T)
        bool, True where another history begins inside a row, from a zero state; the returned state then belongs to
        each row's last history if that is at least K - 1 long. Outputs at padded positions mean nothing.
        """
        state = self.begin(items.shape[0]) if state is None else state
        segments = Segments.of(lengths, starts)
        u = self.embed(items)
        states = []
        for index, layer in enumerate(self.recurrent_layers):
            u, layer_state = layer(u, state[:, index], segments)
            states.append(layer_state)
        return u, torch.stack(states, dim=1)

    def step(self, items: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Output (B, D) and state (B, L, K, H) after one more item for each of B users; items (B,)."""
        u = self.embed(items)
        states = []
        for index, layer in enumerate(self.recurrent_layers):
            assert isinstance(layer, RecurrentLayer)  # noqa: S101 - ModuleList forgets its element type
            u, layer_state = layer.step(u, state[:, index])
            states.append(layer_state)
        return u, torch.stack(states, dim=1)


def _initialise(module: nn.Module) -> None:
    """N(0, 0.02) for linear and embedding weights, zero for linear biases; the rest keeps PyTorch's defaults."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
