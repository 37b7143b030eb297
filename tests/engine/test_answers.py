"""What the engine answers: seen items, ties, candidates, neighbours, differences, and what it remembers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.config import ModelConfig
from model.state_layout import F32
from service.core.engine_requests import EngineRequest, RankCandidates, TopK
from service.core.errors import ItemNotFound, StateDamagedError
from service.core.ports import Engine
from service.engine.cuda.cuda_search import CudaSearch
from service.engine.search.exact import exact_top_k
from service.engine.search.queries import TopKQueries, TopKResult
from tests.engine.conftest import EngineHarness, Kind, build, engine_of, ids, run
from tests.model.builders import CONFIGS, bundle_of


@given(
    st.lists(
        st.sampled_from([-np.inf, -1.0, 0.0, 1.0]) | st.floats(-(2.0**100), 2.0**100, width=32),
        min_size=1,
        max_size=60,
    ),
    st.integers(0, 70),
)
@settings(max_examples=300, deadline=None)
@pytest.mark.parametrize(
    "search", [exact_top_k, lambda table, queries: CudaSearch(torch.from_numpy(table)).top_k(queries)]
)
def test_top_k_is_the_head_of_a_sort(
    search: Callable[[F32, TopKQueries], TopKResult], values: list[float], k: int
) -> None:
    scores = np.array(values, np.float32)
    wanted = sorted((n for n in range(len(values)) if values[n] != -np.inf), key=lambda n: (-scores[n], n))[:k]
    table = np.concatenate([[0], scores])[:, None].astype(np.float32)
    none = np.empty(0, np.uint32)
    asked = TopKQueries(
        np.ones((1, 1), np.float32), np.array([k]), none, np.zeros(1, np.int64), np.zeros(1, np.int64)
    )
    best = search(table, asked)
    assert (best.rows[0, : best.lengths[0]] - 1).tolist() == wanted


def test_seen_items_are_left_out_on_request_only(small: EngineHarness) -> None:
    items = small.history(30)
    everything = run(small.engine, items, TopK(1000, exclude_seen=False)).items
    unseen = run(small.engine, items, TopK(1000, exclude_seen=True)).items
    assert len(everything) == 50
    assert ids(unseen) == [item for item in ids(everything) if item not in items]
    for k in (1, 3, 10):
        assert run(small.engine, items, TopK(k, exclude_seen=True)).items == unseen[:k]


def test_a_user_who_has_seen_everything_gets_an_empty_answer(small: EngineHarness) -> None:
    everything = tuple(item.item_id for item in small.bundle.items)
    assert run(small.engine, everything, TopK(5, exclude_seen=True)).items == ()


def test_titles_and_categories_come_along(small: EngineHarness) -> None:
    catalogue = {item.item_id: item for item in small.bundle.items}
    for found in run(small.engine, ("i1",), TopK(50, exclude_seen=False)).items:
        assert found.title == catalogue[found.item_id].title
        assert found.categories == catalogue[found.item_id].categories


@pytest.fixture
def twins(kind: Kind) -> Engine:
    """A model in which the odd rows have one embedding, and the even rows another."""
    bundle = bundle_of(CONFIGS["default"])
    table = bundle.weights["item_embedding.weight"]
    table[1::2] = table[1]
    table[2::2] = table[2]
    return engine_of(kind, bundle)


def test_ties_are_in_the_order_of_rows(twins: Engine) -> None:
    rows = [int(item[1:]) for item in ids(run(twins, ("i5",), TopK(50, exclude_seen=False)).items)]
    odd, even = list(range(1, 51, 2)), list(range(2, 51, 2))
    assert rows in (odd + even, even + odd)
    assert [int(i[1:]) for i in ids(run(twins, ("i5",), TopK(7, exclude_seen=False)).items)] == rows[:7]
    candidates = RankCandidates(("i9", "i3", "i21", "i1"))
    assert ids(run(twins, ("i5",), candidates).items) == ["i1", "i3", "i9", "i21"]


def test_candidates_come_back_ranked_unknown_ones_last_and_twins_twice(small: EngineHarness) -> None:
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
def test_candidates_that_nobody_knows(small: EngineHarness, candidates: tuple[str, ...]) -> None:
    found = run(small.engine, ("i1",), RankCandidates(candidates)).items
    assert [(item.item_id, item.score) for item in found] == [(item, None) for item in candidates]


def test_neighbours_are_the_nearest_by_cosine(harness: EngineHarness) -> None:
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


def test_differences_are_of_the_whole_recurrent_state(harness: EngineHarness) -> None:
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
def test_the_last_items_are_remembered_up_to_the_limit(kind: Kind, limit: int) -> None:
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
def test_a_limit_below_the_convs_reach_does_not_change_the_fold(kind: Kind, limit: int) -> None:
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


def test_a_state_of_another_shape_is_damaged(small: EngineHarness) -> None:
    other = build("cpu", bundle_of(CONFIGS["deep"]))
    state = run(small.engine, ("i1",)).state
    (answer,) = other.engine.run([EngineRequest(state, (), None)])
    assert isinstance(answer, StateDamagedError)


def test_the_engine_describes_its_bundle(small: EngineHarness) -> None:
    described = small.engine.describe()
    assert described["version"] == small.engine.version == "v1"
    assert described["config"] == small.bundle.config.to_dict()
    assert described["metrics"] == {"ndcg@10": 0.5}
    assert described["training_data"] == {"users": 3}
    assert small.engine.knows("i50")
    assert not small.engine.knows("i51")
