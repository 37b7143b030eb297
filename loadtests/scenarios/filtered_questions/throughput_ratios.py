"""Throughput of filtered questions over HTTP, relative to unfiltered ones.

Each filter is a named one. Questions with and without filters take turns against one server. Recall counts the items
of an exact search of the same users that the answers have; forbidden items are those that the filter does not allow.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from loadtests.environment.items_with_preferences import KINDS
from loadtests.environment.servers import start_timeout_seconds
from loadtests.environment.synthetic_catalogue import write_catalogue
from loadtests.generator.experiment import Options, Run, ServiceUnderTest, measure_closed_loop, service_under_test
from loadtests.scenarios.filtered_questions.questions import FILTERS, SELECTIVITIES, Questions
from loadtests.scenarios.scaling import index_recall

ITEMS = 1_000_000


def filtered_questions(options: Options) -> dict[str, Any]:
    """Measure questions under filters of each kind and selectivity."""
    size = options.sizes[0] if options.sizes else ITEMS
    with tempfile.TemporaryDirectory(prefix="loadtest-bundle-") as folder:
        bundle = Path(folder) / "bundle"
        questions = Questions(bundle, write_catalogue(bundle, options.bundle, size, options.seed), options.seed)
        with service_under_test(options, bundle=bundle, timeout_seconds=start_timeout_seconds(size)) as tested:
            questions.put(tested.server.port)
            recall = index_recall(tested.server)
            cases, runs = _measure(tested, questions, options)
    summary = {"items": size, "search": "exact" if recall is None else "index", "filters": FILTERS, "cases": cases}
    return {"runs": runs, "summary": summary, "charts": []}


def _measure(tested: ServiceUnderTest, questions: Questions, options: Options) -> tuple[dict[str, Any], list[Run]]:
    """Return the figures of each case, and all runs."""
    cases, runs = {}, []
    for kind in KINDS:
        for selectivity in SELECTIVITIES:
            label = f"{kind} {selectivity:.2%}"
            requests = {"unfiltered": questions.requests(), label: questions.requests(kind, selectivity)}
            pairs = [
                [
                    measure_closed_loop(tested, asked, options, options.seconds, name)
                    for name, asked in requests.items()
                ]
                for _ in range(options.rounds)
            ]
            cases[label] = _ratios(pairs) | questions.check(tested.server.port, kind, selectivity)
            runs += [run for pair in pairs for run in pair]
    return cases, runs


def _ratios(pairs: Sequence[Sequence[Run]]) -> dict[str, Any]:
    """Return medians over pairs of runs without and with filters."""
    throughput = [filtered["achieved_per_s"] / max(plain["achieved_per_s"], 1e-9) for plain, filtered in pairs]
    spent = [[run["cpu_us_per_request"]["server"] for run in pair] for pair in pairs]
    return {
        "throughput_ratio": round(median(throughput), 3),
        "cpu_ratio": round(median(plain / filtered for plain, filtered in spent), 3),
        "cpu_us": round(median(filtered for _, filtered in spent)),
        "unfiltered_cpu_us": round(median(plain for plain, _ in spent)),
        "errors": sum(sum(run["errors"].values()) for pair in pairs for run in pair),
    }
