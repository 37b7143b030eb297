"""The benchmark of accuracy on made-up logs, with a tiny one."""

from __future__ import annotations

from loadtests.accuracy.known_truth import KnownTruth
from loadtests.accuracy.known_truth_benchmark import measure


def test_model_is_compared_with_the_oracle() -> None:
    options = ["--dim", "8", "--layers", "1", "--epochs", "2", "--window", "8", "--batch", "32", "--device", "cpu"]
    found = measure(KnownTruth(items=90, users=120, events_per_user=8), options)
    assert 0 < found["model"]["ndcg@10"] < 1.2 * found["oracle"]["ndcg@10"]
    assert found["of_oracle"]["hr@10"] == round(found["model"]["hr@10"] / found["oracle"]["hr@10"], 4)
    assert found["options"] == options
    assert 0 < found["informed_ndcg@10"] < 1.1 * found["oracle"]["ndcg@10"]
