"""Noise of a test metric, coverage, and accuracy on rare items."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.ranking_metrics import Gains, discounted_gains, hits
from model.training.data.interactions import Interactions
from model.training.evaluation.leave_one_out import LeaveOneOutRanks

_CUTOFF = 10
_RESAMPLES = 10_000
_CONFIDENCE = (2.5, 97.5)


def accuracy_details(ranks: LeaveOneOutRanks, data: Interactions) -> dict[str, Any]:
    """Return figures beside the metrics, ready for JSON.

    ci95            bounds of NDCG@10 and HR@10: 95 % of bootstrap samples of the users lie between them
    coverage@10     fraction of the items that occur in any user's 10 best unseen items
    debiased_ndcg@10, masked_debiased_ndcg@10
                    mean over items, not over events, of the NDCG@10 of the events on an item: a model that knows only
                    popular items scores low
    """
    details: dict[str, Any] = {"ci95": {}}
    for prefix, own in (("", ranks.kept), ("masked_", ranks.masked)):
        gains = discounted_gains(own, _CUTOFF)
        details["ci95"][f"{prefix}ndcg@{_CUTOFF}"] = bootstrap_interval(gains)
        details["ci95"][f"{prefix}hr@{_CUTOFF}"] = bootstrap_interval(hits(own, _CUTOFF))
        details[f"{prefix}debiased_ndcg@{_CUTOFF}"] = mean_over_items(gains, ranks.targets)
    details[f"coverage@{_CUTOFF}"] = float(ranks.recommended.sum() / len(data.item_ids))
    return details


def bootstrap_interval(gains: Gains, seed: int = 0) -> list[float]:
    """Return the 95 % bootstrap interval of the mean over users.

    Users with the same gain are interchangeable, so a sample is drawn as counts of the distinct gains.
    """
    values, counts = np.unique(gains, return_counts=True)
    samples = np.random.default_rng(seed).multinomial(len(gains), counts / len(gains), _RESAMPLES)
    low, high = np.percentile(samples @ values / len(gains), _CONFIDENCE)
    return [float(low), float(high)]


def mean_over_items(gains: Gains, items: NDArray[np.int64]) -> float:
    """Return the mean gain, in which each item counts once."""
    totals, counts = np.bincount(items, weights=gains), np.bincount(items)
    return float((totals[counts > 0] / counts[counts > 0]).mean())
