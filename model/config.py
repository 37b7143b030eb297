"""Configuration of a RecBLR network (Liu et al. 2024, section 3)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any


class ConfigError(ValueError):
    """The configuration is not valid; the message names the entry."""


_BOUNDS = {
    "items": (1, 2**31 - 2),
    "dim": (1, 4096),
    "expansion": (1, 16),
    "conv_width": (2, 64),
    "layers": (1, 64),
    "event_types": (0, 64),
}


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Shape of the network.

    items        catalogue size V; embedding rows are V + 1, row 0 is reserved
    dim          D, width of embeddings and of the output
    expansion    E; the recurrence runs in H = E * D channels
    conv_width   K, taps of the causal depthwise convolution
    layers       L
    start_token  whether every history begins with row 0, whose output answers new users (decision 0014)
    event_types  rows of the type embedding, 0 for a model without types; row 0 is the default type, "view"
    """

    items: int
    dim: int = 64
    expansion: int = 2
    conv_width: int = 4
    layers: int = 2
    start_token: bool = True
    event_types: int = 0

    def __post_init__(self) -> None:
        for name, (low, high) in _BOUNDS.items():
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise ConfigError(f"config.{name} must be a whole number from {low} to {high}, not {value!r}")
        if type(self.start_token) is not bool:
            raise ConfigError(f"config.start_token must be true or false, not {self.start_token!r}")

    @property
    def hidden(self) -> int:
        """H, channels of the recurrence."""
        return self.expansion * self.dim

    @property
    def state_shape(self) -> tuple[int, int, int]:
        """Shape (L, K, H) of a recurrent state.

        Each layer has its last K - 1 conv inputs, oldest first, and then h.
        """
        return (self.layers, self.conv_width, self.hidden)

    def to_dict(self) -> dict[str, Any]:
        """Return the entries, ready for JSON.

        A model without types has no entry of them, so that a service from before there were types loads it.
        """
        entries = asdict(self)
        if not self.event_types:
            del entries["event_types"]
        return entries

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """Return the configuration of these entries; raises `ConfigError`."""
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown or "items" not in values:
            raise ConfigError(f"config has unknown entries {unknown}" if unknown else "config lacks 'items'")
        return cls(**values)


# Added to the variance in every LayerNorm, as in the published code.
LAYER_NORM_EPS = 1e-12
