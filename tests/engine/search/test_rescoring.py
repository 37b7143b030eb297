"""Rescoring of an index's candidates against sorting them."""

from __future__ import annotations

import numpy as np
import pytest

from service.core.engine_requests import AllowedRows
from service.engine.search.rescoring import MAX_RANK, keep_allowed, rank_among, rescore
from service.engine.search.top_k_queries import TargetRanks, TopKQueries, TopKResult

TABLE = np.random.default_rng(0).integers(-4, 5, (400, 2)).astype(np.float32)


def one_query(k: int, excluded: list[int]) -> TopKQueries:
    rows = np.array(excluded, np.uint32)
    return TopKQueries(np.array([[2, 1]], np.float32), np.array([k]), rows, np.array([0]), np.array([len(rows)]))


def arguments(queries: TopKQueries) -> tuple[np.ndarray, ...]:
    return queries.excluded, queries.excluded_start, queries.excluded_end


@pytest.mark.parametrize("k", [0, 1, 5, 60])
@pytest.mark.parametrize("excluded", [[], [7, 30, 7], list(range(1, 60))])
def test_candidates_are_sorted_without_excluded_ones(k: int, excluded: list[int]) -> None:
    candidates = np.random.default_rng(k).permutation(np.arange(1, 80))[:50]
    queries = one_query(k, excluded)
    result = TopKResult.allocate(queries, len(TABLE) - 1)
    padded = np.concatenate([candidates, [-1, -1]])[None]
    rescore(TABLE, queries.vectors, queries.k, *arguments(queries), padded, *result)
    scores = TABLE @ queries.vectors[0]
    wanted = sorted(set(candidates.tolist()) - set(excluded), key=lambda row: (-scores[row], row))[:k]
    assert result.rows[0, : result.lengths[0]].tolist() == wanted
    assert result.scores[0, : result.lengths[0]].tolist() == scores[wanted].tolist()


@pytest.mark.parametrize("split", [len(TABLE), 8])  # the rows from there on are appended ones
@pytest.mark.parametrize("excluded", [[], [3, 9, 3], list(range(1, 200))])
def test_ranks_count_excluded_rows_and_end_at_the_limit(excluded: list[int], split: int) -> None:
    queries = one_query(MAX_RANK, excluded)
    scores = TABLE @ queries.vectors[0]
    order = sorted(range(1, len(TABLE)), key=lambda row: (-scores[row], row))
    unseen = [row for row in order if row not in excluded]
    best = TopKResult(np.array([unseen[:MAX_RANK]]), scores[unseen[:MAX_RANK]][None], np.array([MAX_RANK]))
    for target in range(1, len(TABLE)):
        ranks = TargetRanks.allocate(1)
        rank_among(
            TABLE[:split], TABLE[split:], queries.vectors, np.array([target]), *arguments(queries), *best, *ranks
        )
        rank = order.index(target) + 1
        assert ranks.among_all[0] == (rank if rank <= MAX_RANK else 0)
        rank = unseen.index(target) + 1 if target in unseen else 0
        assert ranks.among_unseen[0] == (rank if rank <= MAX_RANK else 0)


def test_forbidden_candidates_and_those_beyond_the_most_are_dropped_from_each_part() -> None:
    rng = np.random.default_rng(1)
    mask = rng.random(400) < 0.5
    mask[0] = False
    parts = [rng.permutation(np.arange(1, 400))[:60] for _ in range(4)]
    candidates = np.stack([np.concatenate(parts[:2]), np.concatenate(parts[2:])])
    candidates[:, 50:60] = -1
    before, found = candidates.copy(), np.array([-7, -7])
    # Of the second query only. The last one was appended after the bitmap was made.
    excluded = np.append(np.flatnonzero(mask)[:3], 1 << 30).astype(np.uint32)
    starts, ends = np.zeros(2, np.int64), np.array([0, 4])
    most = np.array([10, 10])
    keep_allowed(AllowedRows.of(mask).bitmap, np.array([1]), candidates, 60, most, excluded, starts, ends, found)
    assert (candidates[0] == before[0]).all() and found[0] == -7
    for part in (slice(0, 60), slice(60, 120)):
        rows = [row for row in before[1, part].tolist() if row > 0 and mask[row]]
        assert candidates[1, part][candidates[1, part] > 0].tolist() == rows[:13]
    allowed = [row for row in before[1, :60].tolist() if row > 0 and mask[row]]
    assert found[1] == len(allowed) - 3
