"""Numbers that are dates, such as 20200913 and 20200913122640."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_FORMS = (8, 14, 12)  # digits of YYYYMMDD, YYYYMMDDhhmmss and YYYYMMDDhhmm
_YEARS = (1970, 2100)


def calendar_digits(values: NDArray[Any]) -> int:
    """Return the digits of most numbers, 0 if they are no dates.

    Of other numbers of the same size hardly one in thirty is a date.
    """
    return next((digits for digits in _FORMS if 2 * parse_calendar(values, digits)[1].sum() < len(values)), 0)


def parse_calendar(values: NDArray[Any], digits: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return nanoseconds since 1970, and which numbers are no dates."""
    unit = 10 ** (digits - 8)
    bad = (
        (values != np.floor(values))
        | (values < _YEARS[0] * 10_000 * unit)
        | (values >= (_YEARS[1] + 1) * 10_000 * unit)
    )
    whole = np.where(bad, _YEARS[0] * 10_000 * unit + 101 * unit, values).astype(np.int64)
    date, time = whole // unit, whole % unit * 10 ** (14 - digits)
    year, month, day = date // 10_000, date // 100 % 100, date % 100
    hour, minute, second = time // 10_000, time // 100 % 100, time % 100
    months = (year - 1970) * 12 + month - 1
    days = months.astype("datetime64[M]").astype("datetime64[D]") + (day - 1)
    bad |= (month < 1) | (month > 12) | (day < 1) | (days.astype("datetime64[M]").astype(np.int64) != months)
    bad |= (hour > 23) | (minute > 59) | (second > 59)
    seconds = days.astype(np.int64) * 86_400 + hour * 3600 + minute * 60 + second
    return np.where(bad, 0, seconds * 10**9), bad
