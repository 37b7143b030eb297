"""Accuracy on events of new items and on all others.

Confidence intervals are bootstrapped over the users.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.ranking_metrics import discounted_gains, hits
from model.training.evaluation.prefix_ranking import LIST_LENGTH, PrefixRanks

CONTENT, ID_ONLY = "content", "id_only"
NEW, OTHER, ALL = KINDS = ("new", "other", "all")
_RESAMPLES = 2_000
_SAMPLES_AT_ONCE = 50
_CONFIDENCE = (2.5, 97.5)
Weights = NDArray[np.float64]


def new_item_accuracy(models: Mapping[str, PrefixRanks], trained: int, items: int) -> dict[str, Any]:
    """Summarise ranks of the same events by several models.

    Args:
        models: ranks by name; `content` and `id_only` are among them.
        trained: number of trained items; higher rows are new.
        items: number of all items.

    Returns:
        Ready for JSON: numbers of events; for each model its metrics by kind of event, coverage and share of new
        items; and the relative difference of `content` and `id_only` on the events of trained items.
    """
    any_ranks = next(iter(models.values()))
    is_new = any_ranks.targets > trained
    kinds = {NEW: is_new, OTHER: ~is_new, ALL: np.ones(len(is_new), bool)}
    samples = user_samples(any_ranks.users)
    result: dict[str, Any] = {
        "users": len(np.unique(any_ranks.users)),
        "items": items,
        "new_items": items - trained,
        "events": {kind: int(chosen.sum()) for kind, chosen in kinds.items()},
        "models": {},
    }
    for name, found in models.items():
        gains = discounted_gains(found.ranks, LIST_LENGTH), hits(found.ranks, LIST_LENGTH)
        result["models"][name] = {
            kind: {
                metric: {
                    "mean": _mean(own, chosen),
                    "ci95": _interval(_sample_means(own, chosen, any_ranks, samples)),
                }
                for metric, own in zip(("ndcg@10", "hr@10"), gains, strict=True)
            }
            for kind, chosen in kinds.items()
        }
        result["models"][name] |= {
            "coverage@10": float((found.shown > 0).sum() / items),
            "new_items_shown": float(found.shown[trained + 1 :].sum() / max(1, found.shown.sum())),
        }
    result["other_relative_to_id_only"] = _relative(models, kinds[OTHER], samples)
    return result


def user_samples(users: NDArray[np.int64], resamples: int = _RESAMPLES, seed: int = 0) -> Weights:
    """Draw bootstrap samples of the users.

    Returns (resamples, U), how often each distinct user is in a sample.
    """
    count = len(np.unique(users))
    rng = np.random.default_rng(seed)
    samples = np.empty((resamples, count), np.uint16)
    for begin in range(0, resamples, _SAMPLES_AT_ONCE):
        size = min(_SAMPLES_AT_ONCE, resamples - begin)
        chosen = rng.integers(0, count, (size, count)) + np.arange(size)[:, None] * count
        samples[begin : begin + size] = np.bincount(chosen.ravel(), minlength=size * count).reshape(size, count)
    return samples.astype(np.float32)


def _relative(models: Mapping[str, PrefixRanks], chosen: NDArray[np.bool_], samples: Weights) -> dict[str, Any]:
    """Return the relative difference of `content` and `id_only`.

    It is that of NDCG@10, paired by user.
    """
    means, sampled = [], []
    for name in (CONTENT, ID_ONLY):
        gains = discounted_gains(models[name].ranks, LIST_LENGTH)
        means.append(_mean(gains, chosen))
        sampled.append(_sample_means(gains, chosen, models[name], samples))
    if not means[1] > 0.0:
        return {"mean": None, "ci95": None}
    return {"mean": means[0] / means[1] - 1.0, "ci95": _interval(sampled[0] / np.maximum(sampled[1], 1e-12) - 1.0)}


def _sample_means(
    gains: NDArray[np.float64], chosen: NDArray[np.bool_], ranks: PrefixRanks, samples: Weights
) -> NDArray[np.float64]:
    """Return the mean gain of chosen events in each sample."""
    _, user = np.unique(ranks.users, return_inverse=True)
    totals = np.bincount(user, weights=gains * chosen, minlength=samples.shape[1])
    counts = np.bincount(user, weights=chosen, minlength=samples.shape[1])
    means: NDArray[np.float64] = (samples @ totals) / np.maximum(samples @ counts, 1.0)
    return means


def _mean(gains: NDArray[np.float64], chosen: NDArray[np.bool_]) -> float:
    return float(gains[chosen].mean()) if chosen.any() else 0.0


def _interval(means: NDArray[np.float64]) -> list[float]:
    low, high = np.percentile(means, _CONFIDENCE)
    return [float(low), float(high)]
