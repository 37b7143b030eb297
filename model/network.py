"""RecBLR network (Liu et al. 2024, section 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.config import LAYER_NORM_EPS, ModelConfig
from model.layers import RecurrentLayer, Segments


class RecBLR(nn.Module):
    """RecBLR network. The recurrent state is an argument and a result.

    Scores are products of an output with the embedding table: `output @ item_embedding.weight.T`. With
    `config.start_token` the caller begins every history with row 0.
    """

    initial_state: Tensor

    def __init__(self, config: ModelConfig, dropout: float = 0.0, embedding_dropout: float = 0.0) -> None:
        """Create a network with random weights.

        Args:
            config: the shape of the network.
            dropout: dropout probability within the layers, in training mode.
            embedding_dropout: dropout probability of embeddings, in training mode.
        """
        super().__init__()
        self.config = config
        self.item_embedding = nn.Embedding(config.items + 1, config.dim)
        self.type_embedding = nn.Embedding(config.event_types, config.dim, 0) if config.event_types else None
        self.dropout = nn.Dropout(embedding_dropout)
        self.layer_norm = nn.LayerNorm(config.dim, eps=LAYER_NORM_EPS)
        self.recurrent_layers = nn.ModuleList(RecurrentLayer(config, dropout) for _ in range(config.layers))
        self.register_buffer("initial_state", torch.zeros(config.state_shape))
        self.apply(_initialise)
        if self.type_embedding is not None:
            nn.init.zeros_(self.type_embedding.weight)

    def begin(self, batch: int) -> Tensor:
        """Return the state (batch, L, K, H) before any item."""
        return self.initial_state.expand(batch, *self.initial_state.shape)

    def embed(self, items: Tensor, types: Tensor | None = None) -> Tensor:
        """Return the first layer's inputs (..., D) of events.

        items and types are (...). Without `types` every event has type 0.
        """
        embedded = self.dropout(self.item_embedding(items))
        if self.type_embedding is not None:
            # Added after the dropout: a type is one of few, and an event without it means something else.
            embedded = embedded + self.type_embedding(torch.zeros_like(items) if types is None else types)
        u: Tensor = self.layer_norm(embedded)
        return u

    def forward(
        self,
        items: Tensor,
        state: Tensor | None = None,
        lengths: Tensor | None = None,
        starts: Tensor | None = None,
        types: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Advance states by sequences of items.

        Args:
            items: rows of the embedding table (B, T), padded on the right with any row.
            state: states (B, L, K, H) from an earlier call; None: `begin`.
            lengths: valid items of each history (B,); None: T.
            starts: (B, T) bool, True where another history begins inside a row, from a zero state.
            types: types of the events (B, T); None: type 0. A model without types ignores them.

        Returns:
            Outputs (B, T, D) after every item, undefined at padding, and states (B, L, K, H) after each history's
            last item. With `starts` a state belongs to the row's last history, which must have K - 1 items or more.
        """
        state = self.begin(items.shape[0]) if state is None else state
        segments = Segments.of(lengths, starts)
        u = self.embed(items, types)
        states = []
        for index, layer in enumerate(self.recurrent_layers):
            u, layer_state = layer(u, state[:, index], segments)
            states.append(layer_state)
        return u, torch.stack(states, dim=1)

    def step(self, items: Tensor, state: Tensor, types: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Advance B users by one item each.

        items and types are (B,), outputs (B, D), states (B, L, K, H).
        """
        u = self.embed(items, types)
        states = []
        for index, layer in enumerate(self.recurrent_layers):
            assert isinstance(layer, RecurrentLayer)  # noqa: S101 - ModuleList forgets its element type
            u, layer_state = layer.step(u, state[:, index])
            states.append(layer_state)
        return u, torch.stack(states, dim=1)


def _initialise(module: nn.Module) -> None:
    """Initialise linear and embedding weights with N(0, 0.02), linear biases with 0."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
