"""A user's state as bytes: what is packed comes back, what cannot be a state is refused."""

from __future__ import annotations

import numpy as np
import pytest

from model.config import ModelConfig
from model.state_layout import PackedState, StateLayout
from tests.model.builders import CONFIGS

SMALL = ModelConfig(items=9, dim=4, expansion=2, conv_width=3, layers=2)


def random_state(config: ModelConfig, rows: list[int]) -> PackedState:
    rng = np.random.default_rng(len(rows))
    L, K, H = config.state_shape
    shapes = (config.dim,), (L, H), (L - 1, K - 1, H)
    return PackedState(*(rng.standard_normal(s).astype(np.float32) for s in shapes), np.array(rows, np.uint32))


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
@pytest.mark.parametrize("count", [0, 1, 1000])
def test_what_is_packed_comes_back(config: ModelConfig, count: int) -> None:
    layout = StateLayout(config)
    state = random_state(config, [1 + n % config.items for n in range(count)])
    data = layout.pack(state)
    assert len(data) == layout.float_bytes + 4 * count
    back = layout.unpack(data)
    for name in ("output", "h", "conv", "rows"):
        assert np.array_equal(getattr(back, name), getattr(state, name)), name
    assert layout.pack(back) == data


def test_the_default_state_takes_2816_bytes() -> None:
    assert StateLayout(ModelConfig(items=10)).float_bytes == 2816


@pytest.mark.parametrize("missing", [1, 3, 4, 2000])
def test_a_state_cut_short_is_refused(missing: int) -> None:
    layout = StateLayout(SMALL)
    data = layout.pack(random_state(SMALL, []))
    with pytest.raises(ValueError, match="cannot be a state"):
        layout.unpack(data[:-missing] if missing < len(data) else b"")


@pytest.mark.parametrize("extra", [1, 2, 3])
def test_bytes_that_are_no_whole_row_are_refused(extra: int) -> None:
    layout = StateLayout(SMALL)
    with pytest.raises(ValueError, match="cannot be a state"):
        layout.unpack(layout.pack(random_state(SMALL, [1, 2])) + bytes(extra))


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("part", ["output", "h", "conv"])
def test_a_number_that_is_not_finite_is_refused(part: str, number: float) -> None:
    layout = StateLayout(SMALL)
    state = random_state(SMALL, [1])
    getattr(state, part)[..., -1] = number
    with pytest.raises(ValueError, match="no fold can give"):
        layout.unpack(layout.pack(state))


@pytest.mark.parametrize("row", [0, SMALL.items + 1, 2**32 - 1])
def test_a_row_outside_the_catalogue_is_refused(row: int) -> None:
    layout = StateLayout(SMALL)
    with pytest.raises(ValueError, match="no fold can give"):
        layout.unpack(layout.pack(random_state(SMALL, [1, row, 2])))
    assert layout.unpack(layout.pack(random_state(SMALL, [1, SMALL.items]))).rows.tolist() == [1, SMALL.items]
