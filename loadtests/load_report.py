"""JSON file and HTML page of a load test."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from loadtests.generator.samples import PERCENTILES
from model.training.reports.page import render_page
from model.training.reports.svg_charts import line_chart

_TEMPLATE = Path(__file__).with_name("load_report.html.jinja")
_COLUMNS = (
    "measurement",
    "loop",
    "offered/s",
    "achieved/s",
    "errors",
    *(f"{name} ms" for name in PERCENTILES),
    "server CPU",
    "Redis CPU",
    "client CPU",
    "others",
    "server MB",
)
# A page with more measurements shows the charts of the scenario alone.
_MAX_RUNS_WITH_CHARTS = 12


def write_results(folder: Path, name: str, result: Mapping[str, Any]) -> tuple[Path, Path]:
    """Write `name`.json and `name`.html into `folder` and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    json_file, html_file = folder / f"{name}.json", folder / f"{name}.html"
    json_file.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    html_file.write_text(html_report(result), encoding="utf-8")
    return json_file, html_file


def html_report(result: Mapping[str, Any]) -> str:
    """Return the HTML page of a load test."""
    runs: Sequence[Mapping[str, Any]] = result["runs"]
    charts = [*result.get("charts", []), *(_charts_of(runs) if len(runs) <= _MAX_RUNS_WITH_CHARTS else [])]
    return render_page(
        _TEMPLATE,
        title=f"Load test: {result['scenario']}",
        command=result["command"],
        summary=json.dumps(result["summary"], indent=1),
        panels=[(chart["title"], _draw(chart)) for chart in charts],
        columns=_COLUMNS,
        rows=[_row(run) for run in runs],
        conditions=json.dumps(result["conditions"], indent=1),
    )


def _draw(chart: Mapping[str, Any]) -> Markup:
    return line_chart(
        chart["lines"],
        chart["x"],
        chart["y"],
        log_x=chart.get("log_x", False),
        log_y=chart.get("log", False),
        from_zero=True,
    )


def _charts_of(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return charts of latency distributions.

    Closed-loop runs are left out if there are others.
    """
    shown = [run for run in runs if run["loop"] == "open"] or list(runs)
    names = [f"{n}. {run['label']}" if len(shown) > 1 else run["label"] for n, run in enumerate(shown, start=1)]
    lines = {name: run["distribution_ms"] for name, run in zip(names, shown, strict=True)}
    charts: list[dict[str, Any]] = [
        {"title": "Latency by percentile", "x": "percentile", "y": "ms", "log": True, "lines": lines}
    ]
    if len(shown) == 1:
        over_time = shown[0]["over_time_ms"]
        both = {"p50": [(t, p50) for t, p50, _ in over_time], "p99": [(t, p99) for t, _, p99 in over_time]}
        charts.append({"title": "Latency over time", "x": "seconds", "y": "ms", "log": True, "lines": both})
    return charts


def _row(run: Mapping[str, Any]) -> list[object]:
    errors = ", ".join(f"{count} x {name}" for name, count in run["errors"].items()) or "0"
    cpu, spent = run["cpu_us_per_request"], run["cpu_s"]
    return [
        run["label"],
        run["loop"],
        run.get("offered_per_s", "-"),
        run["achieved_per_s"],
        errors,
        *(run["latency_ms"].get(name, "-") for name in PERCENTILES),
        *(cpu.get(name, "-") for name in ("server", "redis", "client")),
        f"{spent.get('others', 0) / max(run['seconds'], 1e-9):.2f}",
        run["memory_mb"]["server"]["pss"],
    ]
