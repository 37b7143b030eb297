"""Unix seconds from the numbers that order events."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Numbers below these are seconds, milliseconds and microseconds, above all of them nanoseconds.
_UNITS = ((1e11, 1.0), (1e14, 1e3), (1e17, 1e6))
_NANOSECONDS = 1e9


def newest_unix_time(timestamps: NDArray[Any]) -> float:
    """Return the newest of some timestamps in Unix seconds.

    The median tells the unit, so that a few wrong timestamps do not change it.

    Args:
        timestamps: (n,) numbers of one unit, n > 0.
    """
    median = abs(float(np.median(timestamps)))
    per_second = next((per_second for limit, per_second in _UNITS if median < limit), _NANOSECONDS)
    return float(timestamps.max()) / per_second
