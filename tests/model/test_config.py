"""Configurations: entries are checked, and converted to and from JSON."""

from __future__ import annotations

import pytest

from model.config import ConfigError, ModelConfig
from tests.model.builders import CONFIGS


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_entries_give_the_same_config(config: ModelConfig) -> None:
    assert ModelConfig.from_dict(config.to_dict()) == config


def test_unknown_entry_is_refused() -> None:
    with pytest.raises(ConfigError, match="surprise"):
        ModelConfig.from_dict({"items": 5, "surprise": 1})


def test_state_shape_follows_from_the_entries() -> None:
    assert ModelConfig(items=5, dim=8, expansion=3, conv_width=5, layers=4).state_shape == (4, 5, 24)


@pytest.mark.parametrize(
    "entry", [{"items": 0}, {"items": True}, {"conv_width": 1}, {"dim": 1.5}, {"start_token": 1}]
)
def test_invalid_config_is_refused(entry: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"config.{next(iter(entry))} must be"):
        ModelConfig.from_dict({"items": 5} | entry)
