"""The accuracy metrics: sums by their formulas, sliding windows, and one page for several workers."""

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
from service.observability.live_accuracy import Accuracy, Ratios
from service.observability.metrics import PrometheusMeter

ROOT = Path(__file__).parents[2]

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def series(page: str) -> Series:
    """Every sample of a metrics page."""
    return {
        (name, frozenset(re.findall(r'(\w+)="([^"]*)"', labels or ""))): float(value)
        for name, labels, value in re.findall(r"^(\w+)(?:\{(.*)\})? (\S+)$", page, re.MULTILINE)
    }


def value(found: Series, name: str, **labels: str) -> float:
    return found[f"recblr_accuracy_{name}", frozenset(labels.items())]


def page_of(ranks: list[tuple[str, TargetRank]]) -> Series:
    registry = CollectorRegistry()

    async def add() -> None:
        accuracy = Accuracy(registry)
        accuracy.serve({version for version, _ in ranks})
        for version, place in ranks:
            accuracy.add(version, place)
        accuracy.write()

    asyncio.run(add())
    whole = CollectorRegistry()
    whole.register(Ratios(registry))
    return series(generate_latest(whole).decode())


def test_gains_by_their_formulas() -> None:
    ranks = [TargetRank(False, *pair) for pair in ((1, 1), (3, 2), (10, 10), (11, 0), (400, 7), (0, 0))]
    found = page_of([("v1", place) for place in ranks])
    whose = {"version": "v1", "history": "warm"}
    assert value(found, "events_total", **whose) == 6
    assert value(found, "hits_total", **whose, seen="kept") == 3
    assert value(found, "hits_total", **whose, seen="masked") == 4
    ndcg = 1 + 1 / 2 + 1 / math.log2(11)
    assert value(found, "ndcg_total", **whose, seen="kept") == pytest.approx(ndcg, rel=1e-12)
    reciprocal = 1 + 1 / 3 + 1 / 10 + 1 / 11 + 1 / 400
    assert value(found, "reciprocal_rank_total", **whose, seen="kept") == pytest.approx(reciprocal, rel=1e-12)
    reciprocal = 1 + 1 / 2 + 1 / 10 + 1 / 7
    assert value(found, "reciprocal_rank_total", **whose, seen="masked") == pytest.approx(reciprocal, rel=1e-12)
    assert value(found, "mrr", **whose, seen="masked", window="1000") == pytest.approx(reciprocal / 6, rel=1e-12)


def test_models_and_cold_users_stand_apart() -> None:
    found = page_of(
        [("v1", TargetRank(True, 1, 1)), ("v1", TargetRank(False, 99, 99)), ("v2", TargetRank(False, 1, 1))]
    )
    for version, history, hits in (("v1", "cold", 1), ("v1", "warm", 0), ("v2", "warm", 1)):
        whose = {"version": version, "history": history}
        assert value(found, "events_total", **whose) == 1
        assert value(found, "hr_at_10", **whose, seen="kept", window="10000") == hits
    assert not any(("history", "cold") in labels and ("version", "v2") in labels for _, labels in found)


def test_windows_slide() -> None:
    rng = np.random.default_rng(5)
    sampled = rng.integers(0, 30, (12_345, 2)).tolist()
    found = page_of([("v1", TargetRank(False, *pair)) for pair in sampled])
    whose = {"version": "v1", "history": "warm"}
    assert value(found, "events_total", **whose) == 12_345
    for window in (1000, 10_000):
        for column, seen in enumerate(("kept", "masked")):
            ranks = [pair[column] for pair in sampled[-window:]]
            which = {**whose, "seen": seen, "window": str(window)}
            hits = [0 < place <= 10 for place in ranks]
            assert value(found, "hr_at_10", **which) == pytest.approx(np.mean(hits), rel=1e-12)
            gains = [1 / math.log2(1 + place) if hit else 0 for place, hit in zip(ranks, hits, strict=True)]
            assert value(found, "ndcg_at_10", **which) == pytest.approx(np.mean(gains), rel=1e-12)
            assert value(found, "mrr", **which) == pytest.approx(np.mean([p and 1 / p for p in ranks]), rel=1e-12)


def test_a_model_that_answers_no_more_has_no_window_and_begins_anew_if_it_comes_back() -> None:
    async def pages() -> AsyncIterator[Series]:
        meter = PrometheusMeter()
        for serving, place in ((["v1"], 1), (["v2", "v1"], 1), (["v2"], 1), (["v2"], 1), (["v1", "v2"], 0)):
            meter.served_versions(serving)
            meter.event_evaluated(
                "v1", TargetRank(False, place, place)
            )  # where v1 serves no more, by a turn that was under way
            yield series(meter.page().decode())

    async def all_pages() -> list[Series]:
        return [page async for page in pages()]

    whose, which = {"version": "v1", "history": "warm"}, {"seen": "kept", "window": "1000"}
    found = asyncio.run(all_pages())
    assert [value(page, "events_total", **whose) for page in found] == [1, 2, 3, 4, 5]
    assert [value(page, "window_events", **whose, window="1000") for page in found] == [1, 2, 0, 0, 1]
    rates = [page.get(("recblr_accuracy_hr_at_10", frozenset((whose | which).items()))) for page in found]
    assert rates == [1, 1, None, None, 0]


# A worker that judges so many events at the first place and so many at no place, shows the page and ends.
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
        await asyncio.sleep(1.5)  # it writes by itself, whoever answers for the metrics
        print("written", flush=True)
        sys.stdin.readline()
asyncio.run(main())
"""


def test_one_page_tells_of_all_workers(tmp_path: Path) -> None:
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
    whose = {"version": "v1", "history": "warm"}
    assert value(found, "events_total", **whose) == 1900
    assert value(found, "hits_total", **whose, seen="kept") == 1600
    assert value(found, "window_events", **whose, window="1000") == 1400
    assert value(found, "hr_at_10", **whose, seen="kept", window="1000") == pytest.approx(1100 / 1400)
    assert value(found, "hr_at_10", **whose, seen="kept", window="10000") == pytest.approx(1600 / 1900)
