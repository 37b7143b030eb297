"""One page about one run, to be opened from disk: plots, recipe and figures, with nothing loaded from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.network import RecBLR
from model.ranking_metrics import ndcg
from model.training.data.interactions import Interactions
from model.training.evaluation.ranking import Questions, rank_next
from model.training.reports.svg_charts import bar_chart, line_chart

REPORT = "report.html"
_GROUPS = 6
_CASES = 100_000  # users asked for the accuracy by group, at most

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>
:root {{ color-scheme: light; font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; color: #1f2937; }}
body {{ margin: 0 auto; max-width: 1180px; padding: 28px 24px 48px; background: #fff; }}
h1 {{ font-size: 24px; margin: 0; }} h2 {{ font-size: 15px; margin: 0 0 6px; }}
p {{ margin: 4px 0; color: #4b5563; }}
.tiles, .panels, .tables {{ display: grid; gap: 16px; margin-top: 20px; }}
.tiles {{ grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); }}
.panels {{ grid-template-columns: repeat(auto-fit, minmax(min(100%, 460px), 1fr)); }}
.tables {{ grid-template-columns: repeat(auto-fit, minmax(min(100%, 300px), 1fr)); align-items: start; }}
.tiles div, .panels section, .tables section {{ border: 1px solid #e5e7eb; border-radius: 8px; padding: 14px 16px; }}
.tiles b {{ display: block; font-size: 22px; font-variant-numeric: tabular-nums; }}
.tiles span {{ color: #4b5563; font-size: 13px; }}
svg {{ display: block; width: 100%; height: auto; font-size: 12px; font-family: inherit; }}
table {{ border-collapse: collapse; width: 100%; font-size: 14px; }}
th {{ text-align: left; font-weight: 500; color: #4b5563; }} thead th {{ border-bottom: 1px solid #d1d5db; }}
td, thead th + th {{ text-align: right; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }}
th, td {{ padding: 3px 0 3px 8px; }} th:first-child {{ padding-left: 0; }}
.note {{ font-size: 13px; }} .empty {{ padding: 60px 0; text-align: center; }}
@media print {{ section {{ break-inside: avoid; }} }}
</style></head><body>
<h1>{title}</h1><p>{subtitle}</p>
<div class="tiles">{tiles}</div><div class="panels">{panels}</div><div class="tables">{tables}</div>
</body></html>
"""


def write_report(
    folder: Path,
    network: RecBLR,
    data: Interactions,
    metrics: Mapping[str, float],
    facts: Mapping[str, Mapping[str, Any]],
) -> Path:
    """Write `report.html` beside the run's `metrics.jsonl`; the path.

    `metrics` are the run's final figures, `facts` further tables by title. The accuracy by group is that of the test
    events, each user's last one.
    """
    epochs = read_epochs(folder / "metrics.jsonl")
    page = _PAGE.format(
        title="Training run",
        subtitle=escape(_subtitle(data, epochs)),
        tiles="".join(_tiles(metrics, epochs, data)),
        panels="".join(_panels(network, data, metrics, epochs)),
        tables="".join(_table(title, values) for title, values in facts.items() if values),
    )
    path = folder / REPORT
    path.write_text(page, encoding="utf-8")
    return path


def read_epochs(path: Path) -> list[dict[str, Any]]:
    """The epochs of a run, in order; one that a resumed run did again counts as it was done last."""
    epochs: dict[int, dict[str, Any]] = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
                epochs[int(entry["epoch"])] = entry
            except (ValueError, KeyError, TypeError):
                continue  # the line that a kill cut off
    return [epochs[number] for number in sorted(epochs)]


def _subtitle(data: Interactions, epochs: Sequence[Mapping[str, Any]]) -> str:
    seconds = sum(entry.get("seconds", 0.0) for entry in epochs)
    return (
        f"{len(data.rows):,} events of {len(data.user_ids):,} users on {len(data.item_ids):,} items; "
        f"{len(epochs):,} epochs in {seconds:,.1f} s of training"
    )


def _tiles(metrics: Mapping[str, float], epochs: Sequence[Mapping[str, Any]], data: Interactions) -> list[str]:
    speeds = [speed for _, speed in _throughput(epochs, data)]
    shown = [
        ("test NDCG@10", metrics.get("ndcg@10"), ".4f"),
        ("test HR@10", metrics.get("hr@10"), ".4f"),
        ("best validation NDCG@10", metrics.get("validation_ndcg@10"), ".4f"),
        ("NDCG@10 on the newest events", metrics.get("temporal_ndcg@10"), ".4f"),
        ("events per second (median)", float(np.median(speeds)) if speeds else None, ",.0f"),
    ]
    return [
        f"<div><b>{value:{form}}</b><span>{name}</span></div>" for name, value, form in shown if value is not None
    ]


def _panels(
    network: RecBLR, data: Interactions, metrics: Mapping[str, float], epochs: Sequence[Mapping[str, Any]]
) -> list[str]:
    loss = [(entry["epoch"], entry["loss"]) for entry in epochs if "loss" in entry]
    validation = [(e["epoch"], e["validation_ndcg@10"]) for e in epochs if "validation_ndcg@10" in e]
    by_length, by_popularity = accuracy_by_group(network, data)
    return [
        _panel("Loss", line_chart(loss, "epoch", "training loss")),
        _panel("Validation", line_chart(validation, "epoch", "NDCG@10", best=True)),
        _panel("Accuracy by history length", bar_chart(by_length, "events before the test event", "test NDCG@10")),
        _panel(
            "Accuracy by item popularity",
            bar_chart(by_popularity, "training events of the item asked", "test NDCG@10"),
        ),
        _panel("Throughput", line_chart(_throughput(epochs, data), "epoch", "events per second", zero=True)),
        _metrics_table(metrics),
    ]


def _throughput(epochs: Sequence[Mapping[str, Any]], data: Interactions) -> list[tuple[float, float]]:
    trained = int(np.maximum(data.lengths - 2, 0).sum())
    return [
        (entry["epoch"], entry.get("events", trained) / entry["seconds"]) for entry in epochs if entry.get("seconds")
    ]


Bars = list[tuple[str, float, int]]


def accuracy_by_group(network: RecBLR, data: Interactions) -> tuple[Bars, Bars]:
    """Test NDCG@10 by the length of the history and by the popularity of the item asked: (label, value, cases)."""
    users = np.flatnonzero(data.lengths >= 2)
    if not len(users):
        return [], []
    if len(users) > _CASES:
        users = users[np.linspace(0, len(users) - 1, _CASES).astype(np.int64)]
    lengths = data.lengths[users]
    rows = np.concatenate([data.rows[data.offsets[user] : data.offsets[user + 1]] for user in users])
    questions = Questions(rows.astype(np.int64), np.concatenate([[0], np.cumsum(lengths)]), lengths - 1)
    ranks = rank_next(network, data.popularity(), questions)
    popularity = data.without_last(1).popularity()[questions.rows[questions.offsets[1:] - 1]]
    return _grouped(lengths - 1, ranks), _grouped(popularity, ranks)


def _grouped(values: NDArray[np.int64], ranks: NDArray[np.int64]) -> Bars:
    """About equally large groups by `values`; equal values are never apart."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, _GROUPS + 1)[1:-1], method="lower"))
    group = np.searchsorted(edges, values, side="left")
    bars = []
    for number in np.unique(group):
        inside = values[group == number]
        low, high = int(inside.min()), int(inside.max())
        label = _count(low) if low == high else f"{_count(low)} to {_count(high)}"
        bars.append((label, ndcg(ranks[group == number], 10), len(inside)))
    return bars


def _count(number: int) -> str:
    """Short, or labels of neighbouring bars would run into each other."""
    if number < 10_000:
        return str(number)
    return f"{number / 1e3:.0f}k" if number < 1_000_000 else f"{number / 1e6:.1f}M"


def _panel(title: str, plot: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{plot}</section>"


def _metrics_table(metrics: Mapping[str, float]) -> str:
    names = [name for name in metrics if not name.startswith("masked_") and f"masked_{name}" in metrics]
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{metrics[name]:.4f}</td><td>{metrics['masked_' + name]:.4f}</td></tr>"
        for name in names
    )
    head = "<thead><tr><th>test metric</th><th>seen items kept</th><th>masked</th></tr></thead>"
    others = {n: v for n, v in metrics.items() if n not in names and n.removeprefix("masked_") not in names}
    return f"<section><h2>Final metrics</h2><table>{head}{rows}{_rows(others)}</table></section>"


def _table(title: str, values: Mapping[str, Any]) -> str:
    return f"<section><h2>{escape(title)}</h2><table>{_rows(values)}</table></section>"


def _rows(values: Mapping[str, Any]) -> str:
    return "".join(
        f'<tr><th>{escape(str(name))}</th><td colspan="2">{escape(_shown(value))}</td></tr>'
        for name, value in values.items()
    )


def _shown(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e6 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
