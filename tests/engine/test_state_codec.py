"""Codec of packed states: round trip, and invalid states."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.compiled.array_types import F32
from model.config import ModelConfig
from model.state_layout import StateLayout
from service.engine.state_codec import TYPE_BITS, StateCodec, join_states
from tests.model.builders import CONFIGS

SMALL = ModelConfig(items=9, dim=4, expansion=2, conv_width=3, layers=2)
PARTS = ("output", "h", "conv")


def random_parts(config: ModelConfig, seed: int = 0) -> dict[str, F32]:
    """Random output, h and conv of a state."""
    rng = np.random.default_rng(seed)
    L, K, H = config.state_shape
    shapes = {"output": (config.dim,), "h": (L, H), "conv": (L - 1, K - 1, H)}
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def packed(parts: dict[str, F32], rows: list[int], types: list[int] | None = None) -> bytes:
    """A state by the documentation of model.state_layout."""
    words = [np.array(words, "<u4").tobytes() for words in (types or [], rows)]
    return b"".join([*(parts[name].astype("<f4").tobytes() for name in PARTS), *words])


def is_valid(config: ModelConfig, state: bytes) -> bool:
    return bool(StateCodec(config, config.hidden, 1000).valid(join_states([state]), config.items)[0])


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
@pytest.mark.parametrize("count", [0, 1, 2, 1000])
def test_unpacked_state_is_packed_again_with_the_new_rows(config: ModelConfig, count: int) -> None:
    codec, (_, K, H) = StateCodec(config, config.hidden + 3, 1001), config.state_shape
    no_types = [0] * (K - 1) if config.event_types else None
    parts, rows = random_parts(config, count), [1 + n % config.items for n in range(count)]
    states = join_states([packed(random_parts(config, 7), [1], no_types), packed(parts, rows, no_types)])
    assert codec.valid(states, config.items).all()
    initial = np.full((K - 1, H + 3), 7, np.float32)
    h, conv, recent = codec.unpack(states, np.array([1]), initial)
    assert np.array_equal(h[0, :, :H], parts["h"])
    assert np.array_equal(conv[0, 1:, :, :H], parts["conv"])
    assert not h[..., H:].any() and not conv[0, 1:, :, H:].any()
    known = min(count, K - 1)
    assert recent[0].tolist() == [-1] * (K - 1 - known) + rows[count - known :]
    assert np.array_equal(conv[0, 0, : K - 1 - known], initial[known:])
    new_starts = np.array([0, 2])
    output = np.concatenate([parts["output"], np.zeros(5, np.float32)])[None]
    (state,) = codec.pack(states, np.array([1]), np.array([2, 3]), new_starts, h, conv, output)
    assert state == packed(parts, [*rows, 2, 3][-1001:], no_types)


@pytest.mark.parametrize(("old", "new"), [(0, 1), (1, 1), (2, 1), (3, 2), (0, 3), (5, 4), (1, 9)])
def test_state_keeps_the_types_of_the_last_events(old: int, new: int) -> None:
    config = replace(SMALL, conv_width=4, event_types=6)
    codec, parts = StateCodec(config, config.hidden, 1000), random_parts(config)
    events = [(1 + n % 9, 1 + n % 5) for n in range(old + new)]
    rows, types = [row for row, _ in events], [0, 0, 0, *(event_type for _, event_type in events)]
    states = join_states([packed(parts, rows[:old], types[old : old + 3])])
    assert codec.valid(states, config.items).all()
    h, conv, recent = codec.unpack(states, np.zeros(1, np.int64), np.zeros((3, config.hidden), np.float32))
    codes = [row | event_type << TYPE_BITS for row, event_type in events]
    assert recent[0].tolist() == [-1, -1, -1, *codes[:old]][-3:]
    new_events, new_starts = np.array(codes[old:]), np.array([0, new])
    (state,) = codec.pack(states, np.zeros(1, np.int64), new_events, new_starts, h, conv, parts["output"][None])
    assert state == packed(parts, rows, types[-3:])


@pytest.mark.parametrize("event_type", [2, 2**32 - 1])
def test_type_that_the_model_does_not_have_is_invalid(event_type: int) -> None:
    config = replace(SMALL, event_types=2)
    assert is_valid(config, packed(random_parts(config), [1], [0, 1]))
    assert not is_valid(config, packed(random_parts(config), [1], [0, event_type]))


@pytest.mark.parametrize(("old", "new"), [(0, 3), (2, 1), (3, 2), (5, 9)])
def test_state_keeps_the_latest_rows_up_to_the_limit(old: int, new: int) -> None:
    codec, parts = StateCodec(SMALL, SMALL.hidden, 3), random_parts(SMALL)
    states, selected, new_starts = join_states([packed(parts, [4] * old)]), np.zeros(1, np.int64), np.array([0, new])
    h, conv, _ = codec.unpack(states, selected, np.zeros((2, SMALL.hidden), np.float32))
    rows = np.arange(new) % 9 + 1
    (state,) = codec.pack(states, selected, rows, new_starts, h, conv, parts["output"][None])
    assert state == packed(parts, ([4] * old + rows.tolist())[-3:])


def test_initial_state_has_no_rows() -> None:
    codec, parts = StateCodec(SMALL, SMALL.hidden, 3), random_parts(SMALL)
    conv = np.concatenate([np.zeros((1, 2, SMALL.hidden), np.float32), parts["conv"]])
    assert codec.pack_initial(parts["h"][None], conv[None], parts["output"][None]) == packed(parts, [])


@pytest.mark.parametrize("missing", [4, 8, 2000])
def test_truncated_state_is_invalid(missing: int) -> None:
    data = packed(random_parts(SMALL), [])
    assert is_valid(SMALL, data)
    assert not is_valid(SMALL, data[: max(0, len(data) - missing)])


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("part", PARTS)
def test_number_that_is_not_finite_is_invalid(part: str, number: float) -> None:
    parts = random_parts(SMALL)
    parts[part][..., -1] = number
    assert not is_valid(SMALL, packed(parts, [1]))


@pytest.mark.parametrize("row", [0, SMALL.items + 1, 2**32 - 1])
def test_row_outside_the_catalogue_is_invalid(row: int) -> None:
    parts = random_parts(SMALL)
    assert not is_valid(SMALL, packed(parts, [1, row, 2]))
    assert is_valid(SMALL, packed(parts, [1, SMALL.items]))


def test_each_state_of_a_batch_is_checked_by_itself() -> None:
    good, codec = packed(random_parts(SMALL), [1, 2]), StateCodec(SMALL, SMALL.hidden, 10)
    batch = join_states([good, b"", good[:-12], good, packed(random_parts(SMALL), [0])])
    assert codec.valid(batch, SMALL.items).tolist() == [True, False, False, True, False]
    assert len(good) == StateLayout.of(SMALL).float_bytes + 8
