"""Results of an engine: top-k, candidates, similar items and differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.config import ModelConfig
from service.core.engine_requests import EngineRequest, RankCandidates, TopK
from service.core.errors import ItemNotFound, StateDamagedError
from service.core.ports import Engine
from tests.engine.conftest import EngineHarness, Kind, build, engine_of, ids, run
from tests.model.builders import CONFIGS, bundle_of


def test_seen_items_are_excluded_only_if_requested(small: EngineHarness) -> None:
    items = small.history(30)
    everything = run(small.engine, items, TopK(1000, exclude_seen=False)).items
    unseen = run(small.engine, items, TopK(1000, exclude_seen=True)).items
    assert len(everything) == 50
    assert ids(unseen) == [item for item in ids(everything) if item not in items]
    for k in (1, 3, 10):
        assert run(small.engine, items, TopK(k, exclude_seen=True)).items == unseen[:k]


def test_user_who_has_seen_all_items_gets_no_items(small: EngineHarness) -> None:
    everything = tuple(item.item_id for item in small.bundle.items)
    assert run(small.engine, everything, TopK(5, exclude_seen=True)).items == ()


@pytest.fixture
def twins(kind: Kind) -> Engine:
    """Engine with one embedding for odd rows and another for even rows."""
    bundle = bundle_of(CONFIGS["default"])
    table = bundle.weights["item_embedding.weight"]
    table[1::2] = table[1]
    table[2::2] = table[2]
    return engine_of(kind, bundle)


def test_equal_scores_are_in_order_of_rows(twins: Engine) -> None:
    rows = [int(item[1:]) for item in ids(run(twins, ("i5",), TopK(50, exclude_seen=False)).items)]
    odd, even = list(range(1, 51, 2)), list(range(2, 51, 2))
    assert rows in (odd + even, even + odd)
    assert [int(i[1:]) for i in ids(run(twins, ("i5",), TopK(7, exclude_seen=False)).items)] == rows[:7]
    candidates = RankCandidates(("i9", "i3", "i21", "i1"))
    assert ids(run(twins, ("i5",), candidates).items) == ["i1", "i3", "i9", "i21"]


def test_candidates_are_ranked_with_unknown_ones_last(small: EngineHarness) -> None:
    items = small.history(12)
    candidates = ("i4", "nobody", "i9", "i4", "i30", "no one")
    found = run(small.engine, items, RankCandidates(candidates)).items
    wanted = small.scores(items)
    known = sorted(("i4", "i9", "i4", "i30"), key=lambda item: -wanted[int(item[1:])])
    assert ids(found) == [*known, "nobody", "no one"]
    scores = [item.score for item in found]
    assert scores[:4] == pytest.approx([wanted[int(item[1:])] for item in known], abs=1e-4)
    assert scores[4:] == [None, None]


@pytest.mark.parametrize("candidates", [(), ("nobody",)])
def test_unknown_candidates_have_no_score(small: EngineHarness, candidates: tuple[str, ...]) -> None:
    found = run(small.engine, ("i1",), RankCandidates(candidates)).items
    assert [(item.item_id, item.score) for item in found] == [(item, None) for item in candidates]


def test_similar_items_are_nearest_by_cosine(harness: EngineHarness) -> None:
    table = harness.bundle.weights["item_embedding.weight"].astype(np.float64)
    directions = table / np.linalg.norm(table, axis=1, keepdims=True)
    for row in (1, 3, len(table) - 1):
        item = harness.bundle.items[row - 1].item_id
        found = harness.engine.similar(item, 5)
        cosine = directions @ directions[row]
        cosine[[0, row]] = -np.inf
        assert item not in ids(found)
        assert [entry.score for entry in found] == pytest.approx(np.sort(cosine)[::-1][:5].tolist(), abs=1e-5)
    assert len(harness.engine.similar(item, 10_000)) == len(harness.bundle.items) - 1
    with pytest.raises(ItemNotFound):
        harness.engine.similar("nobody", 5)


def test_difference_covers_the_whole_recurrent_state(harness: EngineHarness) -> None:
    engine, taps = harness.engine, harness.bundle.config.conv_width - 1
    items = harness.history(20)
    state = run(engine, items).state
    assert engine.difference(state, state) == 0.0
    assert engine.difference(run(engine, items[:-1]).state, state) > 1e-3
    assert engine.difference(run(engine, ()).state, state) > 1e-3
    other = harness.bundle.items[0 if items[-1] != harness.bundle.items[0].item_id else 1].item_id
    rows = {item.item_id: row for row, item in enumerate(harness.bundle.items, start=1)}
    forged = state[:-4] + np.uint32(rows[other]).tobytes()
    assert engine.difference(forged, state) > 1e-3, "the first layer's conv inputs are a function of the rows"
    longest_ago = state[: -4 * (taps + 1)] + np.uint32(rows[other]).tobytes() + state[-4 * taps :]
    assert engine.difference(longest_ago, state) == 0.0
    for bad in (b"", state[:-1]):
        with pytest.raises(StateDamagedError):
            engine.difference(bad, state)
        with pytest.raises(StateDamagedError):
            engine.difference(state, bad)


@pytest.mark.parametrize("limit", [3, 5, 20])
def test_state_keeps_the_last_items_up_to_the_limit(kind: Kind, limit: int) -> None:
    harness = build(kind, bundle_of(CONFIGS["default"]), seen_limit=limit)
    items = tuple(f"i{n}" for n in range(1, 13))
    whole = run(harness.engine, items, TopK(50, exclude_seen=True))
    assert set(ids(whole.items)) == {item.item_id for item in harness.bundle.items} - set(items[-limit:])
    state = None
    for item in items:
        state = run(harness.engine, (item,), None, state).state
    assert set(ids(run(harness.engine, (), TopK(50, exclude_seen=True), state).items)) == set(ids(whole.items))
    assert len(whole.state) == len(run(harness.engine, ()).state) + 4 * min(limit, len(items))


@pytest.mark.parametrize("limit", [1, 2])
def test_limit_below_the_conv_width_does_not_change_scores(kind: Kind, limit: int) -> None:
    bundle = bundle_of(ModelConfig(items=20, dim=8, conv_width=6))
    short, long = engine_of(kind, bundle, limit), engine_of(kind, bundle)
    state = longer = None
    for item in ("i1", "i2", "i3", "i4", "i5", "i6", "i7", "i8"):
        state = run(short, (item,), None, state).state
        longer = run(long, (item,), None, longer).state
    scores = [
        {item.item_id: item.score for item in run(engine, (), TopK(20, exclude_seen=False), data).items}
        for engine, data in ((short, state), (long, longer))
    ]
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)


def test_state_of_another_shape_is_damaged(small: EngineHarness) -> None:
    other = build("cpu", bundle_of(CONFIGS["deep"]))
    state = run(small.engine, ("i1",)).state
    (answer,) = other.engine.run([EngineRequest(state, (), None)])
    assert isinstance(answer, StateDamagedError)


def test_engine_describes_its_bundle(small: EngineHarness) -> None:
    described = small.engine.describe()
    assert described["version"] == small.engine.version == "v1"
    trained = len(small.engine.item_ids)
    assert described["config"] == replace(small.bundle.config, items=trained).to_dict()
    assert described["metrics"] == {"ndcg@10": 0.5}
    assert described["training_data"] == {"users": 3}
    assert small.engine.knows("i50")
    assert not small.engine.knows("i51")
