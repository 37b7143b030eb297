"""Ranks of evaluated events, against results and the float64 network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from service.core.engine_requests import EngineRequest, EngineResult, TargetRank, TopK
from service.core.errors import StateDamagedError
from service.engine.cpu.cpu_engine import CpuEngine
from tests.engine.conftest import EngineHarness, Kind, engine_of, ids, run
from tests.model.builders import CONFIGS, bundle_of

ALL, UNSEEN = TopK(10_000, exclude_seen=False), TopK(10_000, exclude_seen=True)


def evaluate(
    harness: EngineHarness, items: tuple[str, ...], evaluated: Sequence[int], state: bytes | None = None
) -> EngineResult:
    (result,) = harness.engine.run([EngineRequest(state, items, None, tuple(evaluated))])
    assert isinstance(result, EngineResult), result
    return result


def expected_rank(harness: EngineHarness, before: tuple[str, ...], item: str) -> TargetRank:
    """The item's rank in the engine's top-k results."""
    result = run(harness.engine, before, ALL)
    found = [ids(answer.items) for answer in (result, run(harness.engine, before, UNSEEN))]
    return TargetRank(result.cold, *(order.index(item) + 1 if item in order else 0 for order in found))


def test_ranks_agree_with_the_float64_network(harness: EngineHarness) -> None:
    items = harness.history(30, seed=5)
    rows = {item.item_id: row for row, item in enumerate(harness.bundle.items, start=1)}
    result = evaluate(harness, items, range(1, 30))
    assert len(result.ranks) == 29
    for at, rank in enumerate(result.ranks, start=1):
        scores = harness.scores(items[:at])
        unseen = scores.copy()
        unseen[[rows[item] for item in items[:at]]] = -np.inf
        score = scores[rows[items[at]]]
        assert not rank.cold
        # float32 may order scores within 1e-4 differently.
        assert (scores > score + 1e-4).sum() <= rank.among_all - 1 < (scores > score - 1e-4).sum()
        if items[at] in items[:at]:
            assert rank.among_unseen == 0
        else:
            assert (unseen > score + 1e-4).sum() <= rank.among_unseen - 1 < (unseen > score - 1e-4).sum()


def test_ranks_are_positions_in_the_engines_results(small: EngineHarness) -> None:
    items = small.history(40, seed=6)  # of 50 items, so that some occur twice
    wanted = [expected_rank(small, items[:at], items[at]) for at in range(40)]
    assert list(evaluate(small, items, range(40)).ranks) == wanted
    assert wanted[0].cold and not wanted[1].cold
    assert any(rank.among_unseen == 0 for rank in wanted)
    state = run(small.engine, items[:20]).state
    assert list(evaluate(small, items[20:], (0, 7, 19), state).ranks) == [wanted[20], wanted[27], wanted[39]]


def test_first_rank_without_start_token_is_by_popularity(without_token: EngineHarness) -> None:
    for item in ("i1", "i8", "i40"):
        (rank,) = evaluate(without_token, ("unknown", item), (1,)).ranks
        assert rank == expected_rank(without_token, (), item)
        assert rank.cold and rank.among_all == rank.among_unseen


def test_equal_scores_rank_in_order_of_rows(kind: Kind) -> None:
    bundle = bundle_of(CONFIGS["default"], seed=4)
    table = bundle.weights["item_embedding.weight"].copy()
    table[1:] = table[1]
    engine = engine_of(kind, replace(bundle, weights=bundle.weights | {"item_embedding.weight": table}))
    requests = [EngineRequest(None, ("i3", "i7", "i3", f"i{row}"), None, (3,)) for row in range(1, 51)]
    ranks = [result.ranks[0] for result in engine.run(requests) if isinstance(result, EngineResult)]
    assert [rank.among_all for rank in ranks] == list(range(1, 51))
    assert [rank.among_unseen for rank in ranks] == [
        0 if row in (3, 7) else row - (row > 3) - (row > 7) for row in range(1, 51)
    ]


def test_evaluation_changes_neither_states_nor_results(harness: EngineHarness) -> None:
    state, ask = run(harness.engine, harness.history(25, seed=1)).state, TopK(10, exclude_seen=True)
    requests = [
        EngineRequest(state, harness.history(1, seed=2), ask, (0,)),
        EngineRequest(None, ("unknown", *harness.history(6, seed=3)), ask, (1, 2, 6)),
        EngineRequest(b"damaged", harness.history(2, seed=4), ask, (0, 1)),
        EngineRequest(state, (), ask),
        EngineRequest(state, harness.history(300, seed=5), None, (299,)),
    ]
    for found, wanted in zip(
        harness.engine.run(requests),
        harness.engine.run([request._replace(evaluated=()) for request in requests]),
        strict=True,
    ):
        if isinstance(wanted, StateDamagedError):
            assert isinstance(found, StateDamagedError)
            continue
        assert isinstance(found, EngineResult)
        assert harness.engine.difference(found.state, wanted.state) <= 1e-5
        assert [item.score for item in found.items] == pytest.approx([item.score for item in wanted.items], abs=1e-4)
    counts = [len(found.ranks) for found in harness.engine.run(requests) if isinstance(found, EngineResult)]
    assert counts == [1, 3, 0, 1]


def test_index_reports_ranks_up_to_100() -> None:
    bundle = bundle_of(replace(CONFIGS["default"], items=2000), seed=4)
    exact, indexed = CpuEngine(bundle, 1000), CpuEngine(bundle, 1000, min_recall=0.99, min_indexed_items=1)
    assert "retrieval_recall@10" in indexed.describe()["metrics"]
    rng = np.random.default_rng(2)
    history = tuple(f"i{row}" for row in rng.integers(1, 2001, 60))
    order = ids(run(exact, history, ALL).items)
    asked = [*order[:130:3], *order[130::100], *history[:20]]
    requests = [EngineRequest(None, (*history, item), None, (len(history),)) for item in asked]
    wanted, found = (
        [f.ranks[0] for f in engine.run(requests) if isinstance(f, EngineResult)] for engine in (exact, indexed)
    )
    # An item that the index misses moves the later ones up by one rank.
    missed = 100 - 90
    for item, true, told in zip(asked, wanted, found, strict=True):
        for rank, given in zip(true[1:], told[1:], strict=True):
            if rank == 0 or rank > 100 + 60 + missed:
                assert given == 0, item
            elif given:
                assert rank - missed <= given <= rank, item
            else:
                assert rank > 100, item
