"""The page about a run: whole in itself, and its figures are the run's."""

from __future__ import annotations

import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from model.config import ModelConfig
from model.network import RecBLR
from model.training.__main__ import main
from model.training.data.interactions import Interactions
from model.training.evaluation.leave_one_out import leave_one_out
from model.training.reports.run_report import accuracy_by_group, read_epochs, write_report
from model.training.reports.svg_charts import bar_chart, line_chart
from tests.model.builders import network_of, random_weights

CONFIG = ModelConfig(items=30, dim=8)
VOID = {"meta", "br", "img", "link", "input", "hr"}


def data(seed: int = 5) -> Interactions:
    rng = np.random.default_rng(seed)
    lengths = np.concatenate([[0, 1], rng.integers(2, 40, 200)])
    popular = 1 + np.minimum(rng.geometric(0.1, lengths.sum()), 30) - 1
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return Interactions(
        popular.astype(np.int32), offsets, [str(n) for n in range(30)], [str(n) for n in range(len(lengths))]
    )


def network() -> RecBLR:
    return network_of(CONFIG, random_weights(CONFIG))


class Balanced(HTMLParser):
    """Fails on a tag that is not closed, and notes what would be loaded from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "img", "iframe"), tag
        for name, value in attrs:
            assert name not in ("src", "href", "onload", "onclick"), (name, value)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data + "\n"


def read(path: Path) -> str:
    page = path.read_text(encoding="utf-8")
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert "http" not in page.lower()
    assert "url(" not in page
    return parser.text


def test_the_page_shows_the_run(tmp_path: Path) -> None:
    lines = [{"epoch": n, "loss": 7 - n / 10, "seconds": 0.5, "events": 1000} for n in range(1, 11)]
    lines[4] |= {"validation_ndcg@10": 0.1234, "best": 0.1234}
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    metrics = leave_one_out(network(), data()).metrics() | {"validation_ndcg@10": 0.1234, "temporal_ndcg@10": 0.4321}
    facts = {"Recipe": {"window": 50, "learning_rate": 0.002, "evil": "<script>alert(1)</script>"}, "None": {}}
    text = read(write_report(tmp_path, network(), data(), metrics, facts))
    for shown in ("Loss", "Validation", "Accuracy by history length", "Accuracy by item popularity", "Throughput"):
        assert shown in text
    for figure in (f"{metrics['ndcg@10']:.4f}", f"{metrics['masked_hr@20']:.4f}", "0.1234", "0.4321", "2,000"):
        assert figure in text
    assert "learning_rate\n0.002" in text
    assert "<script>alert(1)</script>" in text  # as text
    assert "None" not in text


def test_a_run_that_left_nothing_still_has_a_page(tmp_path: Path) -> None:
    none = Interactions(np.zeros(0, np.int32), np.zeros(1, np.int64), ["a"], [])
    text = read(write_report(tmp_path, network(), none, {}, {}))
    assert text.count("This run has nothing to plot here.") == 5


def test_groups_together_are_the_test(tmp_path: Path) -> None:
    whole = leave_one_out(network(), data()).metrics()["ndcg@10"]
    for bars in accuracy_by_group(network(), data()):
        cases = [count for *_, count in bars]
        assert sum(cases) == 200
        assert 3 <= len(bars) <= 6
        assert sum(value * count for _, value, count in bars) / 200 == pytest.approx(whole)
        # In order and apart.
        ends = [[int(end) for end in re.findall(r"\d+", label)] for label, *_ in bars]
        assert all(low[-1] < high[0] for low, high in itertools.pairwise(ends))


def test_popularity_is_that_of_the_events_before_the_test() -> None:
    rows = np.array([1, 1, 2, 1, 2, 3], np.int32)
    histories = Interactions(rows, np.array([0, 3, 6]), ["a", "b", "c"], ["u", "v"])
    # Each last event (b, c) stands for the test; before it a counts 3, b 1, c 0.
    _, by_popularity = accuracy_by_group(network_of(ModelConfig(3), random_weights(ModelConfig(3))), histories)
    assert [label for label, *_ in by_popularity] == ["0", "1"]


def test_epochs_that_were_done_again_count_once(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"epoch": 1, "loss": 3}\n{"epoch": 2, "loss": 2}\n{"epoch": 2, "loss": 1}\n[]\n{"epoch": 3, "lo')
    assert read_epochs(path) == [{"epoch": 1, "loss": 3}, {"epoch": 2, "loss": 1}]
    assert read_epochs(tmp_path / "none") == []


@pytest.mark.parametrize(
    "points",
    [
        [(1, 5.0)],
        [(1, 0.0), (2, 0.0)],
        [(n, 1e9 * n) for n in range(1, 9)],
        [(n, 1e-9 * n) for n in range(500)],
        [(1, float("nan")), (2, 1.0), (3, float("inf"))],
        [(1, -5.0), (2, 3.0)],
    ],
)
def test_lines_stay_within_their_plot(points: list[tuple[float, float]]) -> None:
    for options in ({}, {"best": True}, {"zero": True}):
        svg = ElementTree.fromstring(line_chart(points, "epoch", "a & b", **options))
        _, _, width, height = (float(number) for number in svg.attrib["viewBox"].split())
        for circle in svg.iter("circle"):
            assert 0 <= float(circle.attrib["cx"]) <= width
            assert 0 <= float(circle.attrib["cy"]) <= height
        assert 2 <= len(list(svg.iter("line"))) <= 12


def test_bars_are_as_high_as_their_values() -> None:
    svg = ElementTree.fromstring(bar_chart([("a", 0.1, 5), ("b", 0.2, 6), ("c < d", 0.0, 7)], "x", "y"))
    heights = [float(bar.attrib["height"]) for bar in svg.iter("rect")]
    assert heights[1] == pytest.approx(2 * heights[0], abs=0.1)
    assert heights[2] == 0
    assert "c < d: 0 (7 cases)" in [title.text for title in svg.iter("title")]


def test_training_leaves_report_metrics_and_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "events.txt"
    source.write_text("".join(f"u{u} " + " ".join(f"i{(u + n) % 9}" for n in range(12)) + "\n" for u in range(20)))
    hyperparameters = "--dim 8 --layers 1 --epochs 4 --evaluate-every 2 --window 8 --batch 16 --device cpu"
    assert main(["train", str(source), "--out", str(tmp_path / "run"), *hyperparameters.split()]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["report"] == str(tmp_path / "run" / "report.html")
    assert {"report.html", "metrics.jsonl", "bundle"} <= {path.name for path in (tmp_path / "run").iterdir()}
    text = read(tmp_path / "run" / "report.html")
    assert "240 events of 20 users on 9 items; 4 epochs" in text
    assert f"{said['ndcg@10']:.4f}" in text
