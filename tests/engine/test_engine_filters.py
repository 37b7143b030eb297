"""Filters and exclusions in every answer of an engine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from service.core.engine_requests import AllowedRows, EngineRequest, EngineResult, RankCandidates, ScoredItem, TopK
from service.engine.cpu.cpu_engine import CpuEngine
from tests.engine.conftest import EngineHarness, Kind, engine_of, ids, run
from tests.model.builders import CONFIGS, bundle_of

SHARES = (0.0, 0.03, 0.3, 0.9, 1.0)


def mask_of(harness: EngineHarness, share: float, seed: int = 0) -> NDArray[np.bool_]:
    mask = np.random.default_rng(seed).random(len(harness.bundle.items) + 1) < share
    mask[0] = False
    return mask


def allowed_ids(harness: EngineHarness, mask: NDArray[np.bool_]) -> set[str]:
    return {item.item_id for row, item in enumerate(harness.bundle.items, start=1) if mask[row]}


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("exclude_seen", [False, True])
def test_top_k_are_the_allowed_ones_of_the_whole_order(
    harness: EngineHarness, share: float, exclude_seen: bool
) -> None:
    items, mask = harness.history(9), mask_of(harness, share)
    whole = run(harness.engine, items, TopK(10_000, exclude_seen)).items
    excluded = tuple(ids(whole)[::7])
    left = allowed_ids(harness, mask) - set(excluded)
    for k in (1, 4, 10_000):
        query = TopK(k, exclude_seen, AllowedRows.of(mask), (*excluded, "nobody"))
        found = run(harness.engine, items, query).items
        wanted = [item for item in whole if item.item_id in left][:k]
        assert set(ids(found)) <= left
        assert [item.score for item in found] == pytest.approx([item.score for item in wanted], abs=1e-4)
        assert len(found) == len(wanted)


def test_requests_of_one_batch_keep_their_own_filters(harness: EngineHarness) -> None:
    masks = [mask_of(harness, share, seed) for seed, share in enumerate((0.1, 0.5, 0.9))]
    filters = [None, *map(AllowedRows.of, masks)]
    requests = [
        EngineRequest(
            None,
            harness.history(n % 4, seed=n),
            TopK(1 + n, n % 3 == 0, filters[n % 4], harness.history(n % 5, seed=n + 100)),
        )
        for n in range(22)
    ]
    for request, found in zip(requests, harness.engine.run(requests), strict=True):
        (alone,) = harness.engine.run([request])
        assert isinstance(found, EngineResult) and isinstance(alone, EngineResult)
        assert isinstance(request.query, TopK)
        assert [item.score for item in found.items] == pytest.approx([item.score for item in alone.items], abs=1e-4)
        assert not set(ids(found.items)) & set(request.query.exclude)
        if request.query.allowed is not None:
            rows = {item.item_id: row for row, item in enumerate(harness.bundle.items, start=1)}
            assert request.query.allowed.contains(np.array([rows[item] for item in ids(found.items)], int)).all()


def test_more_filters_than_a_batch_has_room_for_are_all_kept(harness: EngineHarness) -> None:
    rows = 1 + np.arange(100) % len(harness.bundle.items)
    filters = [AllowedRows.of(np.arange(len(harness.bundle.items) + 1) == row) for row in rows]
    requests = [EngineRequest(None, harness.history(2), TopK(3, False, allowed)) for allowed in filters]
    requests[70] = requests[70]._replace(query=TopK(2, exclude_seen=False))
    for n, found in enumerate(harness.engine.run(requests)):
        assert isinstance(found, EngineResult)
        if n == 70:
            assert len(found.items) == 2
        else:
            assert ids(found.items) == [harness.bundle.items[rows[n] - 1].item_id]


@pytest.mark.parametrize("share", SHARES)
def test_cold_start_by_popularity_leaves_out_what_is_not_allowed(without_token: EngineHarness, share: float) -> None:
    mask, whole = mask_of(without_token, share), run(without_token.engine, (), TopK(40, False)).items
    left = allowed_ids(without_token, mask) - {"i3", "i20"}
    for k in (2, 40):
        query = TopK(k, exclude_seen=True, allowed=AllowedRows.of(mask), exclude=("i3", "i20", "nobody"))
        answer = run(without_token.engine, ("unknown",), query)
        assert answer.cold
        assert answer.items == tuple(item for item in whole if item.item_id in left)[:k]


@pytest.mark.parametrize("share", SHARES)
def test_similar_items_are_allowed_ones(harness: EngineHarness, share: float) -> None:
    mask, item = mask_of(harness, share), harness.bundle.items[2].item_id
    whole = harness.engine.similar(item, 10_000)
    excluded = ids(whole)[:3]
    left = allowed_ids(harness, mask) - set(excluded)
    for k in (1, 10_000):
        found = harness.engine.similar(item, k, AllowedRows.of(mask), (*excluded, "nobody"))
        assert found == tuple(entry for entry in whole if entry.item_id in left)[:k]
    assert harness.engine.similar(item, 3, None, excluded) == whole[3:6]


def test_ranked_candidates_keep_their_order_and_say_what_is_eligible(small: EngineHarness) -> None:
    candidates = ("i4", "nobody", "i9", "i4", "i30", "i7")
    plain = run(small.engine, small.history(5), RankCandidates(candidates)).items
    assert {item.item_id for item in plain if not item.eligible} == {"nobody"}
    mask = np.zeros(51, np.bool_)
    mask[[4, 7, 9]] = True
    query = RankCandidates(candidates, AllowedRows.of(mask), ("i9", "i50"))
    found = run(small.engine, small.history(5), query).items
    assert [item._replace(eligible=True) for item in found] == [item._replace(eligible=True) for item in plain]
    assert {item.item_id for item in found if item.eligible} == {"i4", "i7"}


def test_equal_candidates_are_in_order_of_rows(kind: Kind) -> None:
    bundle = bundle_of(replace(CONFIGS["default"], items=700, dim=7), seed=1)
    table = bundle.weights["item_embedding.weight"].copy()
    table[1:] = table[1]
    engine = engine_of(kind, replace(bundle, weights=bundle.weights | {"item_embedding.weight": table}))
    candidates = tuple(f"i{row}" for row in range(700, 0, -1))
    assert ids(run(engine, ("i1",), RankCandidates(candidates)).items) == list(reversed(candidates))


def test_ranks_of_evaluated_events_do_not_depend_on_filters(small: EngineHarness) -> None:
    items = small.history(12, seed=3)
    nothing = TopK(5, exclude_seen=True, allowed=AllowedRows.of(np.zeros(51, np.bool_)), exclude=items)
    ranks = []
    for query in (None, nothing):
        (result,) = small.engine.run([EngineRequest(None, items, query, (3, 7, 11))])
        assert isinstance(result, EngineResult)
        ranks.append(result.ranks)
    assert ranks[0] == ranks[1]
    assert all(rank.among_all for rank in ranks[0])


def test_filter_of_another_model_fails_the_request_and_reads_no_other_memory(small: EngineHarness) -> None:
    # Items may have been appended to an extended one, but it never has fewer.
    other = AllowedRows.of(np.ones(500 if small.engine.encoder is None else 20, np.bool_))
    for history in ((), ("i1",)):
        with pytest.raises(ValueError, match=f"not for {len(small.engine.item_ids)} items"):
            small.engine.run([EngineRequest(None, history, TopK(3, exclude_seen=False, allowed=other))])
    with pytest.raises(ValueError, match=f"not for {len(small.engine.item_ids)} items"):
        small.engine.run([EngineRequest(None, ("i1",), RankCandidates(("i2",), other))])
    with pytest.raises(ValueError, match=f"not for {len(small.engine.item_ids)} items"):
        small.engine.similar("i1", 3, other)


def test_index_keeps_filters_and_thousands_of_exclusions() -> None:
    bundle = bundle_of(replace(CONFIGS["default"], items=6000), seed=4)
    indexed, exact = CpuEngine(bundle, 1000, 0.9, min_indexed_items=1), CpuEngine(bundle, 1000)
    assert "retrieval_recall@10" in indexed.describe()["metrics"]
    mask = np.random.default_rng(0).random(6001) < 0.6
    history = tuple(f"i{row}" for row in range(1, 900))
    best = run(exact, history, TopK(6000, exclude_seen=True, allowed=AllowedRows.of(mask))).items
    exclude = tuple(ids(best)[:1000])
    query = TopK(10, exclude_seen=True, allowed=AllowedRows.of(mask), exclude=exclude)
    found, wanted = run(indexed, history, query).items, run(exact, history, query).items
    assert wanted == best[1000:1010]
    assert len(set(ids(found)) & set(ids(wanted))) >= 9
    assert not set(ids(found)) & ({*exclude, *history} | {f"i{row}" for row in range(1, 6001) if not mask[row]})


@pytest.mark.parametrize("min_indexed_items", [1, 10_000])
def test_estimate_counts_the_work_of_filters(min_indexed_items: int) -> None:
    engine = CpuEngine(bundle_of(replace(CONFIGS["default"], items=9000), seed=4), 100, 0.5, min_indexed_items)

    def cost(share: float | None) -> float:
        allowed = None if share is None else AllowedRows.of(np.arange(9001) <= share * 9000)
        return engine.cost([EngineRequest(None, (), TopK(10, exclude_seen=False, allowed=allowed))])

    assert 0 < cost(0.0) < cost(0.01) <= cost(1.0)
    assert cost(1.0) < 2 * cost(None)


def test_scored_items_are_eligible_unless_told_otherwise() -> None:
    assert ScoredItem("a", 1.0).eligible
