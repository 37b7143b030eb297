"""IVF-PQ index on a few thousand items: recall, exclusions and ties."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest

from model.bundle.bundle import Bundle
from model.compiled.array_types import F32
from model.config import ModelConfig
from service.core.engine_requests import TopK
from service.engine.cpu.cpu_engine import CpuEngine
from service.engine.search import faiss_library
from service.engine.search.exact_top_k import exact_top_k
from service.engine.search.ivf_pq import IvfPqIndex
from service.engine.search.proposals import proposed_rows
from service.engine.search.top_k_queries import TopKQueries, TopKResult
from tests.engine.conftest import ids, run
from tests.environment import run_python
from tests.model.builders import bundle_of


def catalogue(items: int = 4000, dim: int = 24, seed: int = 0) -> tuple[F32, F32]:
    """Directions in clusters, log-normal lengths; queries from the clusters."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((40, dim))
    table = centres[rng.integers(0, 40, items + 1)] + 0.5 * rng.standard_normal((items + 1, dim))
    table *= rng.lognormal(0, 0.4, (items + 1, 1)) / np.linalg.norm(table, axis=1, keepdims=True)
    queries = centres[rng.integers(0, 40, 60)] + 0.5 * rng.standard_normal((60, dim))
    return table.astype(np.float32), queries.astype(np.float32)


def asking(vectors: F32, k: int, without: list[list[int]] | None = None) -> TopKQueries:
    lists = without or [[] for _ in vectors]
    ends = np.cumsum([len(rows) for rows in lists], dtype=np.int64)
    starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
    rows = np.array([row for rows in lists for row in rows], np.uint32)
    return TopKQueries(vectors, np.full(len(vectors), k), rows, starts, ends)


BUILD_AN_INDEX = """
import json, os
from threadpoolctl import threadpool_info
from service.engine.search.ivf_pq import IvfPqIndex
from service.engine.search.top_k_queries import TopKQueries, TopKResult
from tests.engine.search.test_ivf_pq import catalogue
IvfPqIndex.build(*catalogue(), 0.9)
cores = [library["architecture"] for library in threadpool_info() if library["internal_api"] == "openblas"]
print(json.dumps([cores, os.environ.get("OPENBLAS_CORETYPE")]))
"""


def build_in_a_process(**environment: str) -> tuple[list[str], str | None]:
    """Build an index; return OpenBLAS' processors and the variable afterwards."""
    ran = run_python("-c", BUILD_AN_INDEX, environment=environment)
    assert ran.returncode == 0, ran.stderr
    cores, variable = json.loads(ran.stdout)
    return cores, variable


def test_all_blas_libraries_detect_the_same_processor() -> None:
    cores, variable = build_in_a_process()
    assert len({faiss_library._BLAS_CORES.get(core, core) for core in cores}) <= 1, cores
    assert variable is None


def test_users_blas_core_type_stays_as_set() -> None:
    (core, *_), _ = build_in_a_process()
    assert build_in_a_process(OPENBLAS_CORETYPE=core)[1] == core


def rows_of(best: TopKResult) -> list[list[int]]:
    return [rows[:n].tolist() for rows, n in zip(best.rows, best.lengths, strict=True)]


@pytest.fixture(scope="module")
def built() -> tuple[IvfPqIndex, F32, F32]:
    table, queries = catalogue()
    index = IvfPqIndex.build(table, queries[:30], 0.99)
    assert index is not None
    return index, table, queries[30:]


def test_recall_holds_for_other_queries_than_the_samples(built: tuple[IvfPqIndex, F32, F32]) -> None:
    index, table, queries = built
    assert index.recall >= 0.99
    wanted, found = rows_of(exact_top_k(table, asking(queries, 10))), rows_of(index.top_k(asking(queries, 10)))
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(wanted, found, strict=True)]) >= 0.98


def test_scores_are_exact_products_in_descending_order(built: tuple[IvfPqIndex, F32, F32]) -> None:
    index, table, queries = built
    best = index.top_k(asking(queries, 10))
    for query, rows, scores in zip(queries, best.rows, best.scores, strict=True):
        assert scores == pytest.approx(table[rows] @ query, rel=1e-5)
        assert (np.diff(scores) <= 0).all()
        assert len(set(rows.tolist())) == 10


def test_exclusions_apply_before_the_selection(built: tuple[IvfPqIndex, F32, F32]) -> None:
    index, table, queries = built
    rng = np.random.default_rng(3)
    best = rows_of(exact_top_k(table, asking(queries, 40)))
    without = [[*rows[:n], *rng.integers(1, 4001, n).tolist()] for n, rows in enumerate(best)]
    wanted, found = exact_top_k(table, asking(queries, 10, without)), index.top_k(asking(queries, 10, without))
    for rows, gone in zip(rows_of(found), without, strict=True):
        assert len(rows) == 10
        assert not set(rows) & set(gone)
    shared = [len(set(a) & set(b)) / 10 for a, b in zip(rows_of(wanted), rows_of(found), strict=True)]
    assert np.mean(shared) >= 0.98


@pytest.mark.parametrize("left", [0, 1, 7, 30])
def test_result_is_exact_if_exclusions_leave_few_rows(built: tuple[IvfPqIndex, F32, F32], left: int) -> None:
    index, table, queries = built
    gone = np.setdiff1d(np.arange(1, 4001), np.linspace(1, 4000, left).astype(int)).tolist()
    mixed = asking(queries[:5], 10, [gone, [], gone, [1], gone])
    found, wanted = index.top_k(mixed), exact_top_k(table, mixed)
    for n in (0, 2, 4):
        assert rows_of(found)[n] == rows_of(wanted)[n]
        assert len(rows_of(found)[n]) == min(10, left)
    assert [len(rows) for rows in rows_of(found)][1::2] == [10, 10]


@pytest.mark.parametrize("k", [0, 1, 2000, 4000, 9000])
def test_any_k_returns_as_many_rows_as_there_are(built: tuple[IvfPqIndex, F32, F32], k: int) -> None:
    index, table, queries = built
    found = rows_of(index.top_k(asking(queries[:3], k)))
    assert [len(rows) for rows in found] == [min(k, 4000)] * 3
    if k >= 2000:
        assert found == rows_of(exact_top_k(table, asking(queries[:3], k)))


def test_equal_scores_are_in_order_of_rows() -> None:
    table, queries = catalogue(3000)
    table[1:] = table[1 + np.arange(3000) % 1000]  # every vector three times
    index = IvfPqIndex.build(table, queries, 0.9)
    assert index is not None
    best = index.top_k(asking(queries, 12))
    for rows, scores in zip(best.rows, best.scores, strict=True):
        assert (np.lexsort((rows, -scores)) == np.arange(12)).all()
        assert {(row - 1) % 1000 for row in rows[:3].tolist()} == {(rows[0] - 1) % 1000}


def test_index_below_the_minimum_recall_is_refused(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rng = np.random.default_rng(0)
    table = rng.standard_normal((3001, 32), np.float32)  # no clusters: one list says little about the others
    queries = rng.standard_normal((40, 32), np.float32)
    monkeypatch.setattr(proposed_rows, "_PROBES", (1,))
    with caplog.at_level(logging.WARNING):
        assert IvfPqIndex.build(table, queries, 0.99) is None
    assert "RECBLR_MIN_RECALL" in caplog.text
    assert IvfPqIndex.build(table, queries, 0.01) is not None


@pytest.fixture(scope="module")
def large() -> Bundle:
    bundle = bundle_of(ModelConfig(items=2500, dim=16, layers=1), seed=6)
    bundle.weights["item_embedding.weight"][...] = catalogue(2500, 16)[0]
    return bundle


def test_engine_uses_its_index(large: Bundle) -> None:
    indexed, plain = (
        CpuEngine(large, 1000, 0.99, min_indexed_items=2500),
        CpuEngine(large, 1000, 0.99, min_indexed_items=2501),
    )
    assert indexed.describe()["metrics"]["retrieval_recall@10"] >= 0.99
    assert "retrieval_recall@10" not in plain.describe()["metrics"]
    shared = []
    for n in range(1, 40):
        items = tuple(f"i{row}" for row in np.random.default_rng(n).integers(1, 2501, n))
        answers = [run(engine, items, TopK(10, exclude_seen=True)) for engine in (indexed, plain)]
        assert answers[0].state == answers[1].state
        assert not set(ids(answers[0].items)) & set(items)
        shared.append(len(set(ids(answers[0].items)) & set(ids(answers[1].items))) / 10)
    assert np.mean(shared) >= 0.98


def test_engine_without_sufficient_recall_searches_exactly(large: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proposed_rows, "_recall", lambda found, truth, depth: 0.5)
    refused, plain = CpuEngine(large, 1000, 0.6, min_indexed_items=1), CpuEngine(large, 1000)
    ask = TopK(10, exclude_seen=False)
    assert run(refused, ("i3", "i4"), ask) == run(plain, ("i3", "i4"), ask)


def test_small_catalogue_never_imports_faiss() -> None:
    program = """
import sys
sys.modules["faiss"] = None
from pathlib import Path
from model.bundle.bundle import load_bundle
from service.engine.cpu.cpu_engine import CpuEngine
CpuEngine(load_bundle(Path("bundles/ml-1m-demo")), 100)
"""
    ran = run_python("-c", program)
    assert ran.returncode == 0, ran.stderr
