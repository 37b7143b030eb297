"""HTML report of an evaluation with new items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from model.training.reports.page import render_page
from model.training.reports.svg_charts import Bar, bar_chart

_TEMPLATE = Path(__file__).with_name("templates") / "new_item_report.html.jinja"
_KINDS = (("new", "events of new items"), ("other", "all other events"))
REPORT_FILE = "new-items.html"

Evaluation = Mapping[str, Any]


def write_new_item_report(folder: Path, evaluations: Sequence[Evaluation]) -> Path:
    """Write the report of one evaluation per protocol; return its path."""
    page = render_page(
        _TEMPLATE,
        title="New items",
        protocols=[_protocol(evaluation) for evaluation in evaluations],
    )
    path = folder / REPORT_FILE
    path.write_text(page, encoding="utf-8")
    return path


def _protocol(evaluation: Evaluation) -> dict[str, Any]:
    first = evaluation["seeds"][0]
    events, items, new_items = first["events"], first["items"], first["new_items"]
    return {
        "title": f"Protocol: {evaluation['protocol']}",
        "subtitle": f"{events['new']:,} events of {new_items:,} new items and {events['other']:,} others of "
        f"{first['users']:,} users; {items:,} items are ranked, seen ones left out; "
        f"{len(evaluation['seeds'])} seeds",
        "panels": [
            *((f"NDCG@10, {text}", _bars(evaluation, kind, events[kind])) for kind, text in _KINDS),
            ("Share of new items among those shown", _shares(evaluation)),
        ],
        "columns": ["model", *_metric_names(), "coverage@10", "new items shown"],
        "rows": [row for seed in evaluation["seeds"] for row in _rows(seed)],
        "relative": [_relative(seed) for seed in evaluation["seeds"]],
    }


def _metric_names() -> list[str]:
    return [f"{metric}, {kind}" for kind, _ in _KINDS for metric in ("NDCG@10", "HR@10")]


def _bars(evaluation: Evaluation, kind: str, events: int) -> Markup:
    means = evaluation["mean"]["models"]
    bars = [Bar(name, figures[kind]["ndcg@10"], events) for name, figures in means.items()]
    return bar_chart(bars, "model", "NDCG@10")


def _shares(evaluation: Evaluation) -> Markup:
    means = evaluation["mean"]["models"]
    bars = [Bar(name, figures["new_items_shown"], 1) for name, figures in means.items()]
    return bar_chart(bars, "model", "share of new items")


def _rows(seed: Evaluation) -> list[list[str]]:
    rows = []
    for name, figures in seed["models"].items():
        cells = [f"{name}, seed {seed['seed']}"]
        cells += [_with_interval(figures[kind][metric]) for kind, _ in _KINDS for metric in ("ndcg@10", "hr@10")]
        rows.append([*cells, f"{figures['coverage@10']:.3f}", f"{figures['new_items_shown']:.3f}"])
    return rows


def _with_interval(figure: Mapping[str, Any]) -> str:
    low, high = figure["ci95"]
    return f"{figure['mean']:.4f} ({low:.4f} to {high:.4f})"


def _relative(seed: Evaluation) -> str:
    found = seed["other_relative_to_id_only"]
    if found["mean"] is None:
        return f"Seed {seed['seed']}: the id-only model predicts none of the other events."
    low, high = found["ci95"]
    return (
        f"Seed {seed['seed']}: on all other events, content changes NDCG@10 by {found['mean']:+.2%} "
        f"({low:+.2%} to {high:+.2%})."
    )
