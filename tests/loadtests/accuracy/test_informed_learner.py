"""The bound of what can be learnt from a made-up log."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from loadtests.accuracy import informed_learner
from loadtests.accuracy.informed_learner import cluster_belief, informed_ndcg
from loadtests.accuracy.known_truth import KnownTruth, make_log, oracle_accuracy

TRUTH = KnownTruth(items=600, users=600, clusters=30, events_per_user=25)


def test_many_events_an_item_make_it_the_oracle() -> None:
    log = make_log(TRUTH)
    assert informed_ndcg(TRUTH, log) == pytest.approx(oracle_accuracy(TRUTH, log)["ndcg@10"], abs=0.03)
    right = cluster_belief(TRUTH, log)[np.arange(600), np.arange(600) % 30]
    assert right.mean() > 0.85


def test_few_events_an_item_leave_it_below_the_oracle() -> None:
    few = replace(TRUTH, users=60)
    log, world = make_log(few), make_log(replace(TRUTH, users=2000, seed=9))
    belief = cluster_belief(few, log)
    np.testing.assert_allclose(belief.sum(1), 1.0)
    unseen = np.setdiff1d(np.arange(600), log.items)
    assert len(unseen) > 0
    np.testing.assert_allclose(belief[unseen], 1 / 30)
    assert informed_ndcg(few, log) < 0.95 * informed_ndcg(TRUTH, world)


def test_last_two_events_of_a_user_teach_nothing() -> None:
    log = make_log(TRUTH)
    changed = replace(log, items=log.items.copy())
    changed.items[log.offsets[1:] - 1] = 0
    np.testing.assert_array_equal(cluster_belief(TRUTH, log), cluster_belief(TRUTH, changed))


def test_too_many_clusters_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(informed_learner, "MAX_ENTRIES", 1000)
    with pytest.raises(ValueError, match="600 items of 30 clusters"):
        informed_ndcg(TRUTH, make_log(TRUTH))
