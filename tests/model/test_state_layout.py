"""The layout's parts cover a state without gaps."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest

from model.config import ModelConfig
from model.state_layout import StateLayout
from tests.model.builders import CONFIGS


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_parts_follow_each_other_without_gaps(config: ModelConfig) -> None:
    layout = StateLayout.of(config)
    L, K, H = config.state_shape
    assert (layout.dim, layout.hidden, layout.layers, layout.conv_inputs) == (config.dim, H, L, K - 1)
    assert layout.h_start == config.dim
    assert layout.conv_start == layout.h_start + L * H
    assert layout.types_start == layout.conv_start + prod((L - 1, K - 1, H))
    assert layout.rows_start == layout.types_start + (K - 1 if config.event_types else 0)


def test_default_state_takes_2816_bytes_without_items() -> None:
    assert StateLayout.of(ModelConfig(items=10)).float_bytes == 2816


def test_output_is_the_first_part_of_a_state() -> None:
    layout = StateLayout.of(ModelConfig(items=9, dim=4))
    state = np.arange(layout.rows_start + 2, dtype="<f4").tobytes()
    assert layout.output(state).tolist() == [0, 1, 2, 3]
