"""Replay and scores of every engine against the float64 network."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from service.core.engine_requests import EngineRequest, EngineResult, TopK
from service.core.errors import StateDamagedError
from tests.engine.conftest import EngineHarness, ids, run

EVERYTHING = TopK(10_000, exclude_seen=False)


def order(scores: NDArray[np.floating]) -> list[int]:
    """Rows, best first and equal ones in order, without row 0."""
    return np.lexsort((np.arange(len(scores)), -scores))[:-1].tolist()


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 37, 300])
def test_scores_and_order_agree_with_the_float64_network(harness: EngineHarness, length: int) -> None:
    items = harness.history(length, seed=length)
    found = run(harness.engine, items, EVERYTHING).items
    wanted = harness.scores(items)
    rows = {item.item_id: row for row, item in enumerate(harness.bundle.items, start=1)}
    given = np.array([item.score for item in found])
    assert len(found) == len(rows)
    assert np.abs(given - wanted[[rows[item.item_id] for item in found]]).max() <= 1e-4
    # Where float64 tells two items apart by more than float32 can blur, the order is the same.
    exact = wanted[order(wanted)]
    assert np.abs(wanted[[rows[item.item_id] for item in found]] - exact).max() <= 1e-4
    assert (np.diff(given) <= 0).all()
    top = order(wanted)[:10]
    if np.diff(exact[:11]).max(initial=-1.0) < -1e-4:
        assert [rows[item.item_id] for item in found[:10]] == top


def test_new_user_gets_the_start_tokens_items(small: EngineHarness) -> None:
    result = run(small.engine, (), EVERYTHING)
    assert result.cold
    wanted = small.scores(())
    assert ids(result.items) == [f"i{row}" for row in order(wanted)]
    assert [item.score for item in result.items] == pytest.approx(wanted[order(wanted)].tolist(), abs=1e-4)


def test_new_user_gets_popular_items_without_a_start_token(without_token: EngineHarness) -> None:
    result = run(without_token.engine, (), TopK(8, exclude_seen=True))
    popularity = np.array([-1, *(item.popularity for item in without_token.bundle.items)])
    popularity[1 + len(without_token.engine.item_ids) :] = 0  # appended items have none
    assert result.cold
    assert ids(result.items) == [f"i{row}" for row in order(popularity)[:8]]
    after = run(without_token.engine, ("i3",), TopK(8, exclude_seen=False), result.state)
    assert not after.cold
    assert ids(after.items) == [f"i{row}" for row in order(without_token.scores(("i3",)))[:8]]


@pytest.mark.parametrize("cuts", [(1,), (2, 3), (1, 2, 3, 4, 5), (30,), (10, 39), tuple(range(1, 40))])
def test_replay_in_parts_equals_replay_of_the_whole(harness: EngineHarness, cuts: tuple[int, ...]) -> None:
    items = harness.history(40, seed=8)
    whole = run(harness.engine, items).state
    state = None
    for start, stop in zip((0, *cuts), (*cuts, 40), strict=True):
        state = run(harness.engine, items[start:stop], None, state).state
    assert state is not None
    assert harness.engine.difference(state, whole) <= 1e-5
    asked = [run(harness.engine, (), EVERYTHING, data).items for data in (state, whole)]
    scores = [{item.item_id: item.score for item in items} for items in asked]
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)


def test_batch_equals_requests_one_by_one(harness: EngineHarness) -> None:
    engine = harness.engine
    carried = [run(engine, harness.history(n, seed=n)).state for n in (1, 2, 3, 50)]
    ask = TopK(10, exclude_seen=True)
    requests = [
        EngineRequest(None, (), ask),
        EngineRequest(None, (), None),
        EngineRequest(carried[0], (), ask),
        EngineRequest(carried[1], harness.history(1, seed=11), ask),
        EngineRequest(b"damaged", harness.history(3, seed=12), ask),
        EngineRequest(carried[2], harness.history(700, seed=13), ask),
        EngineRequest(None, harness.history(700, seed=14), None),
        EngineRequest(None, ("unknown", *harness.history(2, seed=15), "unknown too"), ask),
        EngineRequest(carried[3], ("unknown",), ask),
        EngineRequest(carried[3][:-3], (), ask),
        *(EngineRequest(carried[n % 4], harness.history(n, seed=n), ask) for n in range(40)),
    ]
    together = engine.run(requests)
    assert len(together) == len(requests)
    for request, found in zip(requests, together, strict=True):
        (alone,) = engine.run([request])
        if isinstance(alone, StateDamagedError):
            assert isinstance(found, StateDamagedError)
            continue
        assert isinstance(found, EngineResult)
        assert found.cold == alone.cold
        assert engine.difference(found.state, alone.state) <= 1e-5
        assert [a.score for a in found.items] == pytest.approx([b.score for b in alone.items], abs=1e-4)
    assert [n for n, found in enumerate(together) if isinstance(found, StateDamagedError)] == [4, 9]


def test_scores_agree_with_float64_at_every_batch_size(harness: EngineHarness) -> None:
    """Part of each history is in the state, the rest is replayed."""
    sizes = [1, 2, 3, 4, 5, 8, 9, 17]
    users = [harness.history(2 + n % 9, seed=100 + n) for n in range(max(sizes))]
    wanted = [harness.scores(items) for items in users]
    best = [scores[order(scores)[:10]] for scores in wanted]
    rows = {item.item_id: row for row, item in enumerate(harness.bundle.items, start=1)}
    first = harness.engine.run(
        [EngineRequest(None, items[: 1 + n % (len(items) - 1)], None) for n, items in enumerate(users)]
    )
    carried = [answer.state for answer in first if isinstance(answer, EngineResult)]
    ask = TopK(10, exclude_seen=False)
    requests = [EngineRequest(carried[n], items[1 + n % (len(items) - 1) :], ask) for n, items in enumerate(users)]
    for size in sizes:
        for n, answer in enumerate(harness.engine.run(requests[:size])):
            assert isinstance(answer, EngineResult)
            given = np.array([item.score for item in answer.items])
            assert len(given) == min(10, len(rows))
            assert np.abs(given - wanted[n][[rows[item.item_id] for item in answer.items]]).max() <= 1e-4, (size, n)
            assert np.abs(given - best[n]).max() <= 1e-4, (size, n)


def test_empty_batch_has_no_results(small: EngineHarness) -> None:
    assert small.engine.run([]) == []


def test_unknown_items_do_not_change_the_state(small: EngineHarness) -> None:
    engine = small.engine
    known = small.history(9)
    state = run(engine, known).state
    assert run(engine, ("x", "y"), None, state).state == state
    mixed = run(engine, ("x", *known[:4], "y", *known[4:], "z")).state
    assert engine.difference(mixed, state) <= 1e-6
    new = run(engine, ("x", "y"), TopK(3, exclude_seen=True))
    assert new.cold
    assert new == run(engine, (), TopK(3, exclude_seen=True))


def test_state_without_new_items_is_returned_unchanged(harness: EngineHarness) -> None:
    state = run(harness.engine, harness.history(5)).state
    assert run(harness.engine, (), TopK(3, exclude_seen=False), state).state == state
