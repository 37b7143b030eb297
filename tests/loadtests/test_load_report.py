"""JSON and HTML of a load test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from loadtests.load_report import html_report, write_results
from tests.model.training.html_pages import text_of_standalone_page

RUN = {
    "label": "recblr, events",
    "loop": "open",
    "offered_per_s": 200,
    "achieved_per_s": 199.5,
    "seconds": 2.0,
    "errors": {"503": 2},
    "latency_ms": {"p50": 1.5, "p90": 2.0, "p99": 4.25, "p99.9": 5.0, "max": 6.0},
    "cpu_us_per_request": {"server": 220.0, "client": 30.0},
    "cpu_s": {"server": 0.1, "others": 0.5},
    "memory_mb": {"server": {"rss": 210.0, "pss": 201.5}},
    "distribution_ms": [(1.0, 0.5), (50.0, 1.5), (99.9, 5.0)],
    "over_time_ms": [(0.5, 1.0, 4.0), (1.5, 1.2, 4.5)],
}


def result(runs: list[dict[str, Any]], charts: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {
        "scenario": "a <b>",
        "command": "python -m loadtests.cli",
        "summary": {"x": 1},
        "conditions": {"cores": 2},
        "runs": runs,
        "charts": charts or [],
    }


def test_results_are_written_as_json_and_as_a_standalone_page(tmp_path: Path) -> None:
    json_file, html_file = write_results(tmp_path / "new", "run", result([RUN]))
    assert json.loads(json_file.read_text())["runs"][0]["latency_ms"] == RUN["latency_ms"]
    lines = text_of_standalone_page(html_file.read_text()).splitlines()
    assert lines.count("Load test: a <b>") == 2  # title and heading
    for cell in ("recblr, events", "200", "199.5", "2 x 503", "4.25", "220.0", "0.25", "201.5"):
        assert cell in lines, cell


def test_single_open_loop_has_charts_of_its_distribution_and_of_time() -> None:
    page = html_report(result([RUN, RUN | {"loop": "closed"}]))
    assert "Latency by percentile" in page
    assert "Latency over time" in page
    assert page.count("<svg") == 2


def test_many_measurements_have_the_charts_of_the_scenario_alone() -> None:
    chart = {"title": "Capacity", "x": "workers", "y": "requests/s", "lines": {"": [(1, 500.0), (2, 900.0)]}}
    page = html_report(result([RUN] * 13, [chart]))
    assert page.count("<svg") == 1
    assert "Latency by percentile" not in page
