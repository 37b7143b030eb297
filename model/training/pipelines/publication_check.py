"""Compare a trained model with the live one before it is published."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from model.training.data.interactions import Interactions
from model.training.evaluation.bundle_loader import load_network
from model.training.evaluation.model_comparison import ComparedModel, ModelComparison, evaluate_last_events
from model.training.publishing.registry import newest_bundle, trained_until

MARGIN = 0.005  # of NDCG@10, as the default of `retrain --margin`


def reason_to_decline(
    registry: Path, data: Interactions, metrics: Mapping[str, float], device: torch.device
) -> str | None:
    """Compare with the live model on each user's last event.

    Args:
        registry: model registry, whose newest bundle is the live one.
        data: interactions that the new model was trained, validated and tested on.
        metrics: test metrics of the new model.
        device: device to evaluate on.

    Returns:
        Why the new model is not published, in one sentence; None if it is at least as good, or the first.

    Raises:
        BundleError: the live bundle is damaged.
    """
    live = newest_bundle(registry)
    if live is None:
        return None
    found = evaluate_last_events(ComparedModel.of_bundle(*load_network(live, device)), data)
    candidate = {name: metrics[name] for name in ("ndcg@10", "hr@10")}
    comparison = ModelComparison(sum(data.lengths >= 2), candidate, found)
    if comparison.accepts(MARGIN):
        return None
    reason = comparison.explain(MARGIN)
    if data.newest_time is None or trained_until(live) >= data.newest_time:
        reason += "; the live model may have been trained on these events, which favours it"
    return f"{reason}; --force publishes the new model all the same"
