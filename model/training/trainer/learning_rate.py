"""Learning-rate schedule: linear warm-up, then a cosine that ends at 0."""

from __future__ import annotations

import math


def schedule_factor(step: int, warmup_steps: int, total_steps: int) -> float:
    """Return the factor of the peak learning rate at a step.

    Steps count from 0. The warm-up takes at most a tenth of all steps.
    """
    warmup = min(warmup_steps, total_steps // 10)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(1, total_steps - warmup)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
