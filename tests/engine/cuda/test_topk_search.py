"""Exact top-k search by kernels, against a stable sort of all scores."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from service.engine.cuda.cuda_search import CudaSearch
from service.engine.search.top_k_queries import TopKQueries
from tests.model.ops.interpreter import needs_triton, run_interpreted

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")

_INTERPRETED = """
import json
from service.engine.cuda import topk_search
from tests.engine.cuda.comparison import Case, compare_search

found = {
    "all rows": compare_search(Case(130, 16, 3, 3)),
    "two blocks of queries": compare_search(Case(777, 12, 18, 5, excluding=True), room=16),
    "filters": compare_search(Case(300, 16, 6, 4, filtering=True)),
    "no room": compare_search(Case(777, 12, 4, 5), room=4),
}
topk_search._MAX_SPANS = 8  # so that a span is more than a group
found |= {
    "spans": compare_search(Case(1100, 64, 3, 4)),
    "spans, both": compare_search(Case(1100, 64, 5, 4, excluding=True, filtering=True)),
    "one row of an odd width": compare_search(Case(1030, 33, 2, 1)),
}
print(json.dumps(found))
"""


@needs_triton
def test_interpreted_kernels_find_the_rows_of_a_stable_sort() -> None:
    run = run_interpreted(_INTERPRETED)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    for name, result in found.items():
        assert result["rows"], name
        assert result["scores"] <= 1e-5, name
    assert found["two blocks of queries"]["complete"] == 18
    assert found["spans, both"]["complete"] == 5
    assert found["no room"]["complete"] < 4


@pytest.mark.parametrize("rows", [33, 3417, 100_003, 300_001, 1_000_001])
@pytest.mark.parametrize(("k", "queries"), [(1, 1), (10, 64), (16, 70), (100, 17), (1000, 3)])
@pytest.mark.parametrize("filtering", [False, True])
@pytest.mark.parametrize("excluding", [False, True])
@pytest.mark.gpu
@needs_gpu
def test_kernels_find_the_rows_and_bits_of_a_stable_sort(
    rows: int, k: int, queries: int, excluding: bool, filtering: bool
) -> None:
    from tests.engine.cuda.comparison import Case, compare_search

    if queries * rows > 1 << 26:
        queries = 3
    found = compare_search(Case(rows, 64, queries, k, excluding, filtering), "cuda")
    assert found["rows"] and found["bits"]
    if k <= rows // 32 // 4:
        assert found["complete"] >= queries - 1  # 40 equal rows are in two or three groups


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1.0, 1e12])
def test_search_with_crowds_and_extreme_lengths_equals_pytorchs(scale: float) -> None:
    draw = torch.Generator("cuda").manual_seed(3)
    table = torch.randn(50_000, 64, generator=draw, device="cuda") * scale
    table[10_000:20_000] = table[10_000]  # more ties than there is room for
    table[30_000] *= 1000
    search = CudaSearch(table)
    vectors = torch.randn(20, 64, generator=draw, device="cuda")
    vectors[0], vectors[1] = table[10_000] / scale, 0.0
    queries = TopKQueries.without_exclusions(vectors.cpu().numpy(), 12)._replace(k=np.arange(1, 21) % 13)
    found, wanted = search.top_k(queries), search.top_k_in_pytorch(queries)
    assert (found.lengths == wanted.lengths).all()
    for q, length in enumerate(wanted.lengths):
        assert (found.rows[q, :length] == wanted.rows[q, :length]).all(), q
        assert (found.scores[q, :length] == wanted.scores[q, :length]).all(), q
