"""Replay of events with types, by every engine, against the float64 network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.bundle.event_types import EventType
from model.config import ModelConfig
from model.state_layout import StateLayout
from service.core.engine_requests import EngineRequest, EngineResult, TopK
from service.core.ports import Engine
from service.engine.event_codes import EventCodes
from tests.engine.conftest import EngineHarness, Kind, build, engine_of
from tests.model.builders import CONFIGS, TYPED, bundle_of

EVERYTHING = TopK(10_000, exclude_seen=False)
Events = tuple[tuple[str, ...], tuple[str, ...]]  # items and types


@pytest.fixture(scope="session", params=TYPED)
def typed(kind: Kind, request: pytest.FixtureRequest) -> EngineHarness:
    """Each configuration with types in turn."""
    return build(kind, bundle_of(TYPED[request.param], seed=4))


def events(harness: EngineHarness, length: int, seed: int = 0) -> Events:
    names = list(harness.bundle.event_types or {})
    draw = np.random.default_rng(seed)
    types = tuple("" if n == 0 else names[n] for n in draw.integers(0, len(names), length).tolist())
    return harness.history(length, seed), types


def run(engine: Engine, given: Events, state: bytes | None = None, ask: TopK | None = EVERYTHING) -> EngineResult:
    (result,) = engine.run([EngineRequest(state, given[0], ask, types=given[1])])
    assert isinstance(result, EngineResult), result
    return result


def scores(result: EngineResult) -> dict[str, float | None]:
    return {item.item_id: item.score for item in result.items}


def wanted_scores(harness: EngineHarness, given: Events) -> dict[str, float]:
    """Scores of the float64 network."""
    ids, names = [item.item_id for item in harness.bundle.items], list(harness.bundle.event_types or {})
    start = [0] * harness.bundle.config.start_token
    rows = start + [ids.index(item) + 1 for item in given[0]]
    types = start + [names.index(name or "view") for name in given[1]]
    with torch.no_grad():
        outputs, _ = harness.network(torch.tensor([rows]), types=torch.tensor([types]))
        found = (outputs[0, -1] @ harness.network.item_embedding.weight.T).tolist()
    return dict(zip(ids, found[1:], strict=True))


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 17, 300])
def test_typed_history_scores_as_the_float64_network(typed: EngineHarness, length: int) -> None:
    given = events(typed, length, seed=length)
    assert scores(run(typed.engine, given)) == pytest.approx(wanted_scores(typed, given), abs=1e-4)


@pytest.mark.parametrize("cuts", [(1,), (2, 3), (1, 2, 3, 4, 5), (30,), (10, 39), tuple(range(1, 40))])
def test_typed_history_in_parts_equals_the_whole(typed: EngineHarness, cuts: tuple[int, ...]) -> None:
    items, types = events(typed, 40, seed=8)
    whole, state = run(typed.engine, (items, types)), None
    for start, stop in zip((0, *cuts), (*cuts, 40), strict=True):
        state = run(typed.engine, (items[start:stop], types[start:stop]), state, None).state
    assert state is not None
    assert typed.engine.difference(state, whole.state) <= 1e-5
    assert scores(run(typed.engine, ((), ()), state)) == pytest.approx(scores(whole), abs=1e-4)


def test_types_of_the_last_events_are_part_of_the_difference(typed: EngineHarness) -> None:
    """Only the stored type differs between the two states."""
    items, types = events(typed, 6, seed=3)
    one = run(typed.engine, (items, (*types[:-1], "t1")), None, None).state
    at = 4 * StateLayout.of(typed.bundle.config).types_start  # the oldest of the K - 1 types
    other = one[:at] + np.array([1 - one[at]], "<u4").tobytes() + one[at + 4 :]
    assert typed.engine.difference(one, other) > 1e-3


def test_batch_of_typed_and_plain_requests_equals_requests_one_by_one(typed: EngineHarness) -> None:
    ask, requests = TopK(5, exclude_seen=True), []
    for n in range(24):
        items, types = events(typed, n % 7, seed=n)
        before = run(typed.engine, events(typed, n % 5, seed=50 + n), None, None).state if n % 3 else None
        requests.append(EngineRequest(before, items, ask, types=types if n % 2 else ()))
    for request, found in zip(requests, typed.engine.run(requests), strict=True):
        (alone,) = typed.engine.run([request])
        assert isinstance(found, EngineResult) and isinstance(alone, EngineResult)
        assert typed.engine.difference(found.state, alone.state) <= 1e-5
        assert [a.score for a in found.items] == pytest.approx([b.score for b in alone.items], abs=1e-4)


def test_stream_without_types_is_a_stream_of_views(typed: EngineHarness) -> None:
    items = typed.history(9)
    plain, named = run(typed.engine, (items, ())), run(typed.engine, (items, ("view", "") * 4 + ("view",)))
    assert plain.state == named.state
    assert plain.items == named.items


def test_rank_of_a_target_follows_from_the_types_before_it(typed: EngineHarness) -> None:
    items, types = events(typed, 8, seed=21)
    (result,) = typed.engine.run([EngineRequest(None, items, None, (3, 7), types)])
    assert isinstance(result, EngineResult)
    for event, rank in zip((3, 7), result.ranks, strict=True):
        before = wanted_scores(typed, (items[:event], types[:event]))
        assert rank.among_all == 1 + sum(score > before[items[event]] for score in before.values())
    assert typed.engine.difference(result.state, run(typed.engine, (items, types)).state) <= 1e-5


def test_only_replayed_types_advance_the_state(kind: Kind) -> None:
    config = ModelConfig(items=20, dim=8, event_types=4)
    rules = {
        "view": EventType("replayed", 1.0, True),
        "cart": EventType("replayed", 2.0, True),
        "dislike": EventType("excluded", -0.5, False),
        "impression": EventType("ignored", 0.0, False),
    }
    engine = engine_of(kind, replace(bundle_of(config), event_types=rules))
    items = ("i1", "i2", "i3", "i4", "i5")
    mixed = run(engine, (items, ("cart", "dislike", "impression", "rental", "view")))
    left = run(engine, (("i1", "i5"), ("cart", "")))
    assert mixed.state == left.state
    assert run(engine, (("i1",), ("dislike",))).cold
    assert engine.describe()["event_types"]["dislike"] == {"replay": "excluded", "weight": -0.5, "positive": False}


def test_model_without_types_replays_all_but_dislikes_and_impressions_alike(kind: Kind) -> None:
    engine = engine_of(kind, bundle_of(CONFIGS["default"], seed=4))
    mixed = run(engine, (("i1", "i2", "i3", "i4"), ("purchase", "dislike", "impression", "rental")))
    plain = run(engine, (("i1", "i4"), ()))
    assert mixed.state == plain.state
    assert mixed.items == plain.items
    assert "event_types" not in engine.describe()


def test_zero_type_vectors_give_the_bits_of_the_model_without_types() -> None:
    """A model without types adds zeros, as it always did."""
    plain = bundle_of(replace(CONFIGS["typed"], event_types=0), seed=4)
    typed_bundle = bundle_of(CONFIGS["typed"], seed=4)
    zeros = {"type_embedding.weight": np.zeros((5, 12), np.float32)}
    same = engine_of("cpu", replace(typed_bundle, weights={**plain.weights, **zeros}))
    items = tuple(f"i{1 + 3 * n % 35}" for n in range(50))
    found, wanted = run(same, (items, ("t1", "t2") * 25)), run(engine_of("cpu", plain), (items, ()))
    assert found.items == wanted.items


def test_types_of_some_items_only_are_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        EventCodes(None).of(("i1", "i2"), ("view",), {"i1": 1, "i2": 2}.get)
