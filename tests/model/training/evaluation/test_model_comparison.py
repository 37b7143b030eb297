"""Comparing a candidate with the live model on held-out events."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.config import ModelConfig
from model.training.evaluation.model_comparison import ComparedModel, ModelComparison, compare, evaluate_held_out
from tests.model.builders import network_of, random_weights
from tests.model.training.logs import timeline_of


def test_items_unknown_to_the_model_are_misses(tmp_path: Path) -> None:
    found = timeline_of(tmp_path, [("a", "i1", 1.0), ("a", "new", 2.0), ("b", "i2", 3.0), ("c", "new", 4.0)])
    config = ModelConfig(items=2, dim=4)
    model = ComparedModel(network_of(config, random_weights(config)), ["i1", "i2"], np.array([0, 1, 1]))
    figures = evaluate_held_out(model, found, found.newest_after(0.0, 10))
    assert figures["known_items"] == 0.5
    assert figures["hr@10"] == 0.5  # of two items every known one is among the first ten
    assert 0.25 <= figures["ndcg@10"] <= 0.5


@pytest.mark.parametrize(
    ("new", "live", "margin", "accepted"),
    [(0.2, 0.2, 0.0, True), (0.3, 0.2, 0.0, True), (0.19, 0.2, 0.02, True), (0.17, 0.2, 0.02, False)],
)
def test_candidate_is_accepted_within_the_margin(new: float, live: float, margin: float, accepted: bool) -> None:
    comparison = ModelComparison(50, {"ndcg@10": new}, {"ndcg@10": live})
    assert comparison.accepts(margin) is accepted
    explanation = comparison.explain(margin)
    assert explanation.startswith("published: " if accepted else "declined: ")
    for figure in ("50 newest events", f"{new:.4f}", f"{live:.4f}", f"margin of {margin:g}"):
        assert figure in explanation


def test_candidate_without_a_live_model_is_accepted() -> None:
    comparison = ModelComparison(50, {"ndcg@10": 0.0}, None)
    assert comparison.accepts(0.0)
    assert "no live model" in comparison.explain(0.0)


def test_comparison_without_held_out_events_has_no_metrics(tmp_path: Path) -> None:
    found = timeline_of(tmp_path, [("a", "i1", 1.0), ("a", "i2", 2.0)])
    config = ModelConfig(items=2, dim=4)
    model = ComparedModel(network_of(config, random_weights(config)), ["i1", "i2"], np.array([0, 1, 1]))
    nothing = np.zeros(2, bool)
    assert compare(model, None, found, nothing) == ModelComparison(0, {}, None)
    assert compare(model, model, found, nothing) == ModelComparison(0, {}, {})
