"""Network: forward and step against the equations of the paper."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from model.config import ModelConfig
from model.network import RecBLR
from tests.model.builders import CONFIGS, TYPED, Arrays, network_of, random_weights
from tests.model.float64 import Plain, relative

LENGTHS = (1, 2, 3, 4, 5, 37, 200, 257, 513)
TOLERANCE = 1e-5


def histories(config: ModelConfig, lengths: list[int], seed: int) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    sampled = [rng.integers(1, config.items + 1, length).tolist() for length in lengths]
    return [[0, *history] if config.start_token else history for history in sampled]


def padded(sampled: list[list[int]], fill: int = 0) -> tuple[Tensor, Tensor]:
    longest = max(map(len, sampled))
    rows = [history + [fill] * (longest - len(history)) for history in sampled]
    return torch.tensor(rows), torch.tensor([len(history) for history in sampled])


def build(config: ModelConfig, seed: int = 1) -> tuple[RecBLR, Plain, Arrays]:
    weights = random_weights(config, seed)
    return network_of(config, weights), Plain(weights, config.layers, config.conv_width), weights


@pytest.fixture(params=CONFIGS.values(), ids=CONFIGS.keys())
def config(request: pytest.FixtureRequest) -> ModelConfig:
    chosen: ModelConfig = request.param
    return chosen


@torch.no_grad()
def test_forward_agrees_with_the_equations_at_ragged_lengths(config: ModelConfig) -> None:
    network, plain, _ = build(config)
    sampled = np.random.default_rng(5).integers(1, 514, 3).tolist()
    each = histories(config, [*LENGTHS, *sampled], seed=2)
    outputs, state = network(*_with_state(padded(each)))
    for n, history in enumerate(each):
        wanted, wanted_state = plain.run(history)
        assert relative(outputs[n, : len(history)].numpy(), wanted) <= TOLERANCE, len(history)
        assert relative(state[n].numpy(), wanted_state) <= TOLERANCE, len(history)


def _with_state(pair: tuple[Tensor, Tensor], state: Tensor | None = None) -> tuple[Tensor, Tensor | None, Tensor]:
    return pair[0], state, pair[1]


@torch.no_grad()
@pytest.mark.parametrize("length", [1, 2, 5, 37, 257, 513])
def test_single_steps_agree_with_the_equations_and_with_forward(config: ModelConfig, length: int) -> None:
    network, plain, _ = build(config)
    (history,) = histories(config, [length], seed=length)
    state = network.begin(1)
    outputs = []
    for item in history:
        output, state = network.step(torch.tensor([item]), state)
        outputs.append(output[0])
    wanted, wanted_state = plain.run(history)
    assert relative(torch.stack(outputs).numpy(), wanted) <= TOLERANCE
    assert relative(state[0].numpy(), wanted_state) <= TOLERANCE
    whole, whole_state = network(torch.tensor([history]))
    assert relative(torch.stack(outputs).numpy(), whole[0].numpy()) <= TOLERANCE
    assert relative(state.numpy(), whole_state.numpy()) <= TOLERANCE


@torch.no_grad()
@pytest.mark.parametrize("cut", [1, 2, 3, 4, 11, 36])
def test_history_in_two_parts_equals_the_whole(config: ModelConfig, cut: int) -> None:
    network, _, _ = build(config)
    items = torch.tensor(histories(config, [36, 36], seed=cut))
    whole, whole_state = network(items)
    first, middle = network(items[:, :cut])
    second, end = network(items[:, cut:], middle) if cut < items.shape[1] else (first[:, :0], middle)
    assert relative(torch.cat([first, second], 1).numpy(), whole.numpy()) <= TOLERANCE
    assert relative(end.numpy(), whole_state.numpy()) <= TOLERANCE


@torch.no_grad()
def test_ragged_parts_continue_each_users_state(config: ModelConfig) -> None:
    network, plain, _ = build(config)
    each = histories(config, [9, 20, 31], seed=3)
    cuts = [1, 4, 30]
    _, middle = network(*_with_state(padded([h[:cut] for h, cut in zip(each, cuts, strict=True)])))
    _, state = network(*_with_state(padded([h[cut:] for h, cut in zip(each, cuts, strict=True)]), middle))
    for n, history in enumerate(each):
        assert relative(state[n].numpy(), plain.run(history)[1]) <= TOLERANCE


@torch.no_grad()
def test_histories_in_one_row_are_independent(config: ModelConfig) -> None:
    """Convolution, recurrence and last state restart from zero at `starts`."""
    network, _, _ = build(config)
    lengths = [4, 1, 2, 11, 3]
    parts = [torch.tensor([items]) for items in histories(config, lengths, seed=7)]
    row = torch.cat(parts, dim=1)
    starts = torch.cat([torch.arange(part.shape[1])[None] == 0 for part in parts], dim=1)
    outputs, state = network(row, torch.zeros(1, *config.state_shape), None, starts)
    alone = [network(part, torch.zeros(1, *config.state_shape)) for part in parts]
    assert relative(outputs.numpy(), torch.cat([pair[0] for pair in alone], 1).numpy()) <= TOLERANCE
    assert relative(state[:, :, -1].numpy(), alone[-1][1][:, :, -1].numpy()) <= TOLERANCE


@torch.no_grad()
def test_padding_does_not_change_results(config: ModelConfig) -> None:
    network, _, _ = build(config)
    each = histories(config, [1, 3, 17, 40], seed=4)
    results = [network(*_with_state(padded(each, fill))) for fill in (0, 1, config.items)]
    for outputs, state in results[1:]:
        assert torch.equal(state, results[0][1])
        for n, history in enumerate(each):
            assert torch.equal(outputs[n, : len(history)], results[0][0][n, : len(history)])


@torch.no_grad()
def test_empty_history_keeps_its_state(config: ModelConfig) -> None:
    network, _, weights = build(config)
    carried = torch.from_numpy(random_weights(config, seed=9)["initial_state"])[None].expand(2, -1, -1, -1)
    items = torch.ones(2, 6, dtype=torch.long)
    _, state = network(items, carried, torch.tensor([0, 6]))
    assert torch.equal(state[0], carried[0])
    assert not torch.allclose(state[1], carried[1])
    _, begun = network(items, None, torch.tensor([0, 6]))
    assert np.array_equal(begun[0].numpy(), weights["initial_state"])


@torch.no_grad()
def test_later_items_do_not_change_earlier_outputs(config: ModelConfig) -> None:
    network, _, _ = build(config)
    items = torch.tensor(histories(config, [25], seed=6))
    changed = items.clone()
    changed[:, 12:] = 1 + changed[:, 12:] % config.items
    assert torch.equal(network(items)[0][:, :12], network(changed)[0][:, :12])


@torch.no_grad()
@pytest.mark.parametrize("typed", TYPED.values(), ids=TYPED.keys())
def test_typed_events_agree_with_the_equations_in_forward_and_in_steps(typed: ModelConfig) -> None:
    network, plain, _ = build(typed)
    each = histories(typed, [1, 2, 5, 40, 131], seed=2)
    draw = np.random.default_rng(3)
    types = [draw.integers(0, typed.event_types, len(history)).tolist() for history in each]
    items, lengths = padded(each)
    outputs, state = network(items, None, lengths, types=padded(types)[0])
    for n, (history, own) in enumerate(zip(each, types, strict=True)):
        wanted, wanted_state = plain.run(history, types=own)
        assert relative(outputs[n, : len(history)].numpy(), wanted) <= TOLERANCE, len(history)
        assert relative(state[n].numpy(), wanted_state) <= TOLERANCE, len(history)
    stepped = network.begin(1)
    for item, event_type in zip(each[3], types[3], strict=True):
        output, stepped = network.step(torch.tensor([item]), stepped, torch.tensor([event_type]))
    assert relative(output[0].numpy(), plain.run(each[3], types=types[3])[0][-1]) <= TOLERANCE


@torch.no_grad()
def test_untrained_types_change_nothing() -> None:
    torch.manual_seed(1)
    network = RecBLR(CONFIGS["typed"]).eval()
    items, types = torch.randint(1, 36, (2, 9)), torch.randint(0, 5, (2, 9))
    assert torch.equal(network(items, types=types)[0], network(items)[0])


def test_gradient_of_types_agrees_with_float64_and_leaves_the_default_at_zero() -> None:
    config = CONFIGS["typed"]
    torch.manual_seed(2)
    single = RecBLR(config).eval()
    double = RecBLR(config).double().eval()
    double.load_state_dict(single.state_dict())
    items, types = torch.randint(1, 36, (3, 17)), torch.randint(0, 5, (3, 17))
    lengths, target = torch.tensor([17, 4, 9]), torch.randn(3, config.dim)
    found = []
    for network in (single, double):
        output, state = network(items, None, lengths, types=types)
        loss = (output[torch.arange(3), lengths - 1] * target.to(output)).sum() + state.sum()
        assert network.type_embedding is not None
        found.append(torch.autograd.grad(loss, network.type_embedding.weight)[0])
    assert relative(found[0].numpy(), found[1].numpy()) <= 1e-4
    assert not found[0][0].any() and found[0][1:].any(1).all()


def test_default_state_size_and_initial_decay_match_the_paper() -> None:
    network = RecBLR(ModelConfig(items=10))
    assert network.begin(1).numel() * 4 == 4096
    for layer in network.recurrent_layers:
        a = torch.exp(-torch.nn.functional.softplus(layer.behavior_modeling.Lambda.detach()))
        assert (float(a.min()), float(a.max())) == pytest.approx((0.9, 0.999), abs=1e-5)
    assert float(network.item_embedding.weight.detach().std()) == pytest.approx(0.02, rel=0.2)
