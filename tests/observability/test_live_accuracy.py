"""Live accuracy: totals, sliding windows, and one page for all workers."""

from __future__ import annotations

import asyncio
import math
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from service.core.engine_requests import TargetRank
from service.observability.live_accuracy import LiveAccuracy, WindowMeans
from service.observability.metrics import PrometheusMeter

ROOT = Path(__file__).parents[2]

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def series(page: str) -> Series:
    """Parse every sample of a metrics page."""
    return {
        (name, frozenset(re.findall(r'(\w+)="([^"]*)"', labels or ""))): float(value)
        for name, labels, value in re.findall(r"^(\w+)(?:\{(.*)\})? (\S+)$", page, re.MULTILINE)
    }


def value(found: Series, name: str, **labels: str) -> float:
    return found[f"recblr_accuracy_{name}", frozenset(labels.items())]


def page_of(ranks: list[tuple[str, TargetRank]]) -> Series:
    registry = CollectorRegistry()

    async def add() -> None:
        accuracy = LiveAccuracy(registry)
        accuracy.serve({version for version, _ in ranks})
        for version, rank in ranks:
            accuracy.add(version, rank)
        accuracy.write()

    asyncio.run(add())
    whole = CollectorRegistry()
    whole.register(WindowMeans(registry))
    return series(generate_latest(whole).decode())


def test_totals_follow_formulas() -> None:
    ranks = [TargetRank(False, *pair) for pair in ((1, 1), (3, 2), (10, 10), (11, 0), (400, 7), (0, 0))]
    found = page_of([("v1", rank) for rank in ranks])
    group = {"version": "v1", "history": "warm"}
    assert value(found, "events_total", **group) == 6
    assert value(found, "hits_total", **group, seen="kept") == 3
    assert value(found, "hits_total", **group, seen="masked") == 4
    ndcg = 1 + 1 / 2 + 1 / math.log2(11)
    assert value(found, "ndcg_total", **group, seen="kept") == pytest.approx(ndcg, rel=1e-12)
    reciprocal = 1 + 1 / 3 + 1 / 10 + 1 / 11 + 1 / 400
    assert value(found, "reciprocal_rank_total", **group, seen="kept") == pytest.approx(reciprocal, rel=1e-12)
    reciprocal = 1 + 1 / 2 + 1 / 10 + 1 / 7
    assert value(found, "reciprocal_rank_total", **group, seen="masked") == pytest.approx(reciprocal, rel=1e-12)
    assert value(found, "mrr", **group, seen="masked", window="1000") == pytest.approx(reciprocal / 6, rel=1e-12)


def test_versions_and_cold_histories_are_counted_apart() -> None:
    found = page_of(
        [("v1", TargetRank(True, 1, 1)), ("v1", TargetRank(False, 99, 99)), ("v2", TargetRank(False, 1, 1))]
    )
    for version, history, hits in (("v1", "cold", 1), ("v1", "warm", 0), ("v2", "warm", 1)):
        group = {"version": version, "history": history}
        assert value(found, "events_total", **group) == 1
        assert value(found, "hr_at_10", **group, seen="kept", window="10000") == hits
    assert not any(("history", "cold") in labels and ("version", "v2") in labels for _, labels in found)


def test_accuracy_is_counted_by_type_of_the_target() -> None:
    registry = CollectorRegistry()

    async def add() -> None:
        accuracy = LiveAccuracy(registry)
        accuracy.serve({"v1"})
        for event_type, rank in (("", 1), ("purchase", 3), ("purchase", 400), ("", 11), ("", 2)):
            accuracy.add("v1", TargetRank(False, rank, rank), event_type)
        for n in range(70):
            accuracy.add("v1", TargetRank(False, 1, 1), f"t{n}")
        accuracy.write()

    asyncio.run(add())
    found = series(generate_latest(registry).decode())
    assert value(found, "type_events_total", version="v1", type="view") == 3
    assert value(found, "type_events_total", version="v1", type="purchase") == 2
    assert value(found, "type_ndcg_total", version="v1", type="purchase", seen="kept") == 0.5
    assert value(found, "type_hits_total", version="v1", type="view", seen="masked") == 2
    assert value(found, "type_events_total", version="v1", type="other") == 8  # the first 64 types have series
    assert value(found, "events_total", version="v1", history="warm") == 75
    assert value(found, "hits_total", version="v1", history="warm", seen="kept") == 73


def test_windows_hold_newest_events() -> None:
    rng = np.random.default_rng(5)
    sampled = rng.integers(0, 30, (12_345, 2)).tolist()
    found = page_of([("v1", TargetRank(False, *pair)) for pair in sampled])
    group = {"version": "v1", "history": "warm"}
    assert value(found, "events_total", **group) == 12_345
    for window in (1000, 10_000):
        for column, seen in enumerate(("kept", "masked")):
            ranks = [pair[column] for pair in sampled[-window:]]
            which = {**group, "seen": seen, "window": str(window)}
            hits = [0 < rank <= 10 for rank in ranks]
            assert value(found, "hr_at_10", **which) == pytest.approx(np.mean(hits), rel=1e-12)
            gains = [1 / math.log2(1 + rank) if hit else 0 for rank, hit in zip(ranks, hits, strict=True)]
            assert value(found, "ndcg_at_10", **which) == pytest.approx(np.mean(gains), rel=1e-12)
            assert value(found, "mrr", **which) == pytest.approx(np.mean([p and 1 / p for p in ranks]), rel=1e-12)


def test_version_no_longer_served_loses_its_window() -> None:
    async def pages() -> AsyncIterator[Series]:
        meter = PrometheusMeter()
        for serving, rank in ((["v1"], 1), (["v2", "v1"], 1), (["v2"], 1), (["v2"], 1), (["v1", "v2"], 0)):
            meter.served_versions(serving)
            meter.event_evaluated(
                "v1", TargetRank(False, rank, rank)
            )  # v1 may be no longer served: a request was in progress
            yield series(meter.page().decode())

    async def all_pages() -> list[Series]:
        return [page async for page in pages()]

    group, which = {"version": "v1", "history": "warm"}, {"seen": "kept", "window": "1000"}
    found = asyncio.run(all_pages())
    assert [value(page, "events_total", **group) for page in found] == [1, 2, 3, 4, 5]
    assert [value(page, "window_events", **group, window="1000") for page in found] == [1, 2, 0, 0, 1]
    rates = [page.get(("recblr_accuracy_hr_at_10", frozenset((group | which).items()))) for page in found]
    assert rates == [1, 1, None, None, 0]


# A worker that evaluates so many events of rank 1 and so many without a rank, then prints the page or waits.
WORKER = """
import asyncio, os, sys
from service.observability.metrics import PrometheusMeter
from service.core.engine_requests import TargetRank
async def main():
    meter = PrometheusMeter()
    meter.served_versions(["v1"])
    for n in range(int(sys.argv[1])):
        meter.event_evaluated("v1", TargetRank(False, 1, 1))
    for n in range(int(sys.argv[2])):
        meter.event_evaluated("v1", TargetRank(False, 0, 0))
    if sys.argv[3] == "show":
        print(meter.page().decode())
    else:
        await asyncio.sleep(1.5)  # longer than the delay after which it writes
        print("written", flush=True)
        sys.stdin.readline()
asyncio.run(main())
"""


def test_page_covers_all_workers(tmp_path: Path) -> None:
    def start(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", WORKER, *arguments],
            cwd=ROOT,
            env={"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    other = start("1500", "0", "wait")
    assert other.stdout is not None and other.stdout.readline() == "written\n"
    found = series(start("100", "300", "show").communicate(timeout=60)[0])
    other.communicate("\n", timeout=60)
    group = {"version": "v1", "history": "warm"}
    assert value(found, "events_total", **group) == 1900
    assert value(found, "hits_total", **group, seen="kept") == 1600
    assert value(found, "window_events", **group, window="1000") == 1400
    assert value(found, "hr_at_10", **group, seen="kept", window="1000") == pytest.approx(1100 / 1400)
    assert value(found, "hr_at_10", **group, seen="kept", window="10000") == pytest.approx(1600 / 1900)
