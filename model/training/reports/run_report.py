"""HTML report of a training run.

It shows charts of the epochs, accuracy by groups, hyperparameters and metrics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from model.network import RecBLR
from model.training.data.interactions import Interactions
from model.training.evaluation.accuracy_by_group import GroupAccuracy, accuracy_by_group
from model.training.evaluation.plain_baselines import baseline_metrics
from model.training.reports.page import render_page
from model.training.reports.svg_charts import Bar, bar_chart, line_chart

REPORT_FILE = "report.html"
_TEMPLATE = Path(__file__).with_name("templates") / "run_report.html.jinja"
_MASKED = "masked_"

Epochs = Sequence[Mapping[str, Any]]


def write_report(
    folder: Path,
    network: RecBLR,
    data: Interactions,
    epochs: Epochs,
    metrics: Mapping[str, float],
    tables: Mapping[str, Mapping[str, Any]],
) -> Path:
    """Write `report.html` into the run's folder, beside its bundle.

    Args:
        folder: folder of the run.
        network: the trained network, which is evaluated by groups of test events.
        data: interactions that the run trained, validated and tested on.
        epochs: the run's epochs, from `progress.read_epochs`.
        metrics: metrics of the run by name; `masked_NAME` stands beside NAME.
        tables: further tables by title, such as the hyperparameters; empty ones are left out.

    Returns:
        The path of the report.
    """
    baselines = baseline_metrics(data) if _masked_names(metrics) else {}
    page = render_page(
        _TEMPLATE,
        title="Training run",
        subtitle=_subtitle(data, epochs),
        tiles=_tiles(metrics, epochs),
        panels=_panels(network, data, epochs),
        baselines=list(baselines),
        test_metrics=_test_metrics(metrics, baselines),
        other_metrics=_other_metrics(metrics),
        tables=[(title, _format_rows(rows)) for title, rows in tables.items() if rows],
    )
    path = folder / REPORT_FILE
    path.write_text(page, encoding="utf-8")
    return path


def _subtitle(data: Interactions, epochs: Epochs) -> str:
    seconds = sum(entry.get("seconds", 0.0) for entry in epochs)
    return (
        f"{len(data.rows):,} events of {len(data.user_ids):,} users on {len(data.item_ids):,} items; "
        f"{len(epochs):,} epochs in {seconds:,.1f} s of training"
    )


def _tiles(metrics: Mapping[str, float], epochs: Epochs) -> list[tuple[str, str]]:
    speeds = [speed for _, speed in _events_per_second(epochs)]
    values = [
        ("test NDCG@10", metrics.get("ndcg@10"), ".4f"),
        ("test HR@10", metrics.get("hr@10"), ".4f"),
        ("best validation NDCG@10", metrics.get("validation_ndcg@10"), ".4f"),
        ("NDCG@10 on the newest events", metrics.get("time_split_ndcg@10"), ".4f"),
        ("events per second (median)", float(np.median(speeds)) if speeds else None, ",.0f"),
    ]
    return [(name, format(value, form)) for name, value, form in values if value is not None]


def _panels(network: RecBLR, data: Interactions, epochs: Epochs) -> list[tuple[str, Markup]]:
    by_length, by_popularity = accuracy_by_group(network, data)
    loss = [(entry["epoch"], entry["loss"]) for entry in epochs if "loss" in entry]
    validation = [(e["epoch"], e["validation_ndcg@10"]) for e in epochs if "validation_ndcg@10" in e]
    speed = _events_per_second(epochs)
    return [
        ("Loss", line_chart({"epoch": loss}, "epoch", "training loss", show_names=False)),
        ("Validation", line_chart({"epoch": validation}, "epoch", "NDCG@10", mark_best=True, show_names=False)),
        ("Accuracy by history length", bar_chart(_bars(by_length), "events before the test event", "test NDCG@10")),
        (
            "Accuracy by item popularity",
            bar_chart(_bars(by_popularity), "training events of the test item", "test NDCG@10"),
        ),
        ("Throughput", line_chart({"epoch": speed}, "epoch", "events per second", from_zero=True, show_names=False)),
    ]


def _events_per_second(epochs: Epochs) -> list[tuple[float, float]]:
    return [(entry["epoch"], entry["events"] / entry["seconds"]) for entry in epochs if entry.get("seconds")]


def _bars(groups: Sequence[GroupAccuracy]) -> list[Bar]:
    bars = []
    for low, high, value, events in groups:
        label = _abbreviate(low) if low == high else f"{_abbreviate(low)} to {_abbreviate(high)}"
        bars.append(Bar(label, value, events))
    return bars


def _abbreviate(number: int) -> str:
    """Shorten a number so that labels of neighbouring bars do not overlap."""
    if number < 10_000:
        return str(number)
    return f"{number / 1e3:.0f}k" if number < 1_000_000 else f"{number / 1e6:.1f}M"


def _test_metrics(metrics: Mapping[str, float], baselines: Mapping[str, Mapping[str, float]]) -> list[list[str]]:
    """Return rows of the table of test metrics.

    A row has the name, then kept and masked of the model and of each baseline.
    """
    models = [metrics, *baselines.values()]
    return [
        [name, *(f"{model[key]:.4f}" for model in models for key in (name, _MASKED + name))]
        for name in _masked_names(metrics)
    ]


def _other_metrics(metrics: Mapping[str, float]) -> list[tuple[str, str]]:
    tested = _masked_names(metrics)
    return _format_rows({n: v for n, v in metrics.items() if n.removeprefix(_MASKED) not in tested})


def _masked_names(metrics: Mapping[str, float]) -> list[str]:
    return [name for name in metrics if _MASKED + name in metrics]


def _format_rows(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name, _format_value(value)) for name, value in values.items()]


def _format_value(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e6 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
