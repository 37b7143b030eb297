"""The HTML report of a training run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from model.training.__main__ import main
from model.training.data.interactions import Interactions
from model.training.evaluation.leave_one_out import leave_one_out
from model.training.evaluation.plain_baselines import baseline_metrics
from model.training.reports.run_report import write_report
from tests.model.training.evaluation.random_histories import random_histories, small_network
from tests.model.training.html_pages import text_of_standalone_page


def test_report_shows_charts_metrics_and_tables(tmp_path: Path) -> None:
    lines = [{"epoch": n, "loss": 7 - n / 10, "seconds": 0.5, "events": 1000} for n in range(1, 11)]
    lines[4] |= {"validation_ndcg@10": 0.1234, "best": 0.1234}
    network, data = small_network(), random_histories()
    metrics = leave_one_out(network, data).metrics() | {"validation_ndcg@10": 0.1234, "time_split_ndcg@10": 0.4321}
    tables = {
        "Hyperparameters": {"window": 50, "learning_rate": 0.002, "evil": "<script>alert(1)</script>"},
        "None": {},
    }
    page = write_report(tmp_path, network, data, lines, metrics, tables)
    text = text_of_standalone_page(page.read_text(encoding="utf-8"))
    for title in ("Loss", "Validation", "Accuracy by history length", "Accuracy by item popularity", "Throughput"):
        assert title in text
    for figure in (f"{metrics['ndcg@10']:.4f}", f"{metrics['masked_hr@20']:.4f}", "0.1234", "0.4321", "2,000"):
        assert figure in text
    assert "learning_rate\n0.002" in text
    for name, values in baseline_metrics(data).items():
        assert f"{name}, masked" in text
        assert f"{values['ndcg@10']:.4f}" in text
    assert "<script>alert(1)</script>" in text  # escaped, so it arrives as text
    assert "None" not in text


def test_run_without_epochs_and_events_still_has_a_report(tmp_path: Path) -> None:
    empty = Interactions(np.zeros(0, np.int32), np.zeros(1, np.int64), ["a"], [])
    page = write_report(tmp_path, small_network(), empty, [], {}, {})
    text = text_of_standalone_page(page.read_text(encoding="utf-8"))
    assert text.count("There is nothing to plot.") == 5


def test_training_writes_report_metrics_and_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "events.txt"
    source.write_text("".join(f"u{u} " + " ".join(f"i{(u + n) % 9}" for n in range(12)) + "\n" for u in range(20)))
    options = "--dim 8 --layers 1 --epochs 4 --evaluate-every 2 --window 8 --batch 16 --device cpu"
    assert main(["train", str(source), "--out", str(tmp_path / "run"), *options.split()]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["report"] == str(tmp_path / "run" / "report.html")
    assert {"report.html", "metrics.jsonl", "bundle"} <= {path.name for path in (tmp_path / "run").iterdir()}
    text = text_of_standalone_page((tmp_path / "run" / "report.html").read_text(encoding="utf-8"))
    assert "240 events of 20 users on 9 items; 4 epochs" in text
    assert f"{result['ndcg@10']:.4f}" in text
