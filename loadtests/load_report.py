"""A run as a JSON file and as one HTML page that needs nothing else: no script, font or picture from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from loadtests.load_charts import line_chart

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2937; max-width: 1180px; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #e5e7eb; text-align: right }
th:first-child, td:first-child { text-align: left } svg { width: 620px; max-width: 100%; font-size: 12px }
figure { display: inline-block; margin: 0 1rem 1rem 0; max-width: 100% } figcaption { font-weight: 600 }
pre { background: #f3f4f6; padding: .8rem; overflow-x: auto } .wide { overflow-x: auto }
"""
_COLUMNS = ("p50", "p90", "p99", "p99.9", "max")


def write_results(folder: Path, name: str, result: Mapping[str, Any]) -> tuple[Path, Path]:
    """Write `name`.json and `name`.html into `folder`; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    as_json, as_html = folder / f"{name}.json", folder / f"{name}.html"
    as_json.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    as_html.write_text(html_report(result))
    return as_json, as_html


def html_report(result: Mapping[str, Any]) -> str:
    """The page of a run: what was asked, the summary, plots, and a row for each measurement."""
    title = f"Load test: {result['scenario']}"
    runs: Sequence[Mapping[str, Any]] = result["runs"]
    charts = [*result.get("charts", []), *(_charts_of_last_runs(runs) if len(runs) <= 12 else [])]
    figures = "".join(
        f"<figure><figcaption>{escape(chart['title'])}</figcaption>"
        + line_chart(
            chart["lines"], chart["x"], chart["y"], log=chart.get("log", False), log_x=chart.get("log_x", False)
        )
        + "</figure>"
        for chart in charts
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
        f"<h1>{escape(title)}</h1>"
        f"<pre>{escape(result['command'])}</pre>"
        f"<h2>Summary</h2><pre>{escape(json.dumps(result['summary'], indent=1))}</pre>"
        f"<h2>Plots</h2>{figures}"
        f'<h2>Measurements</h2><div class="wide">{_table(runs)}</div>'
        "<p>Open loop: latency counts from when a request was due. Closed loop: from when it was sent. CPU in "
        "microseconds per request; “others” is what the rest of the machine used meanwhile, in cores.</p>"
        f"<h2>Conditions</h2><pre>{escape(json.dumps(result['conditions'], indent=1))}</pre></html>"
    )


def _charts_of_last_runs(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    shown = [run for run in runs if run["loop"] == "open"] or list(runs)
    lines = {f"{n}. {run['label']}" if len(shown) > 1 else run["label"]: run for n, run in enumerate(shown, start=1)}
    charts: list[dict[str, Any]] = [
        {
            "title": "Latency by percentile",
            "x": "percentile",
            "y": "ms",
            "log": True,
            "lines": {name: run["distribution_ms"] for name, run in lines.items()},
        }
    ]
    if len(shown) == 1:
        over_time = shown[0]["over_time_ms"]
        both = {"p50": [(t, low) for t, low, _ in over_time], "p99": [(t, high) for t, _, high in over_time]}
        charts.append({"title": "Latency over time", "x": "seconds", "y": "ms", "log": True, "lines": both})
    return charts


def _table(runs: Sequence[Mapping[str, Any]]) -> str:
    head: list[object] = ["measurement", "loop", "asked/s", "achieved/s", "errors"]
    head += [*(f"{name} ms" for name in _COLUMNS), "server CPU", "Redis CPU", "client CPU", "others", "server MB"]
    rows = [head, *(_row(run) for run in runs)]
    cells = ["".join(f"<{'td' if n else 'th'}>{escape(str(cell))}" for cell in row) for n, row in enumerate(rows)]
    return "<table>" + "".join(f"<tr>{row}" for row in cells) + "</table>"


def _row(run: Mapping[str, Any]) -> list[object]:
    errors = ", ".join(f"{count} x {name}" for name, count in run["errors"].items()) or "0"
    cpu, spent = run["cpu_us_per_request"], run["cpu_s"]
    return [
        run["label"],
        run["loop"],
        run.get("asked_per_s", "-"),
        run["achieved_per_s"],
        errors,
        *(run["latency_ms"].get(name, "-") for name in _COLUMNS),
        *(cpu.get(name, "-") for name in ("server", "redis", "client")),
        f"{spent.get('others', 0) / max(run['seconds'], 1e-9):.2f}",
        run["memory_mb"]["server"]["pss"],
    ]
