"""Size of a data set."""

from __future__ import annotations

import math
from typing import NamedTuple


class DataSize(NamedTuple):
    """Numbers of users, items and events of a data set."""

    users: int
    items: int
    events: int

    @property
    def density(self) -> float:
        """Geometric mean of the events per user and the events per item."""
        return self.events / math.sqrt(self.users * self.items)

    @property
    def mean_history(self) -> float:
        """Mean number of events per user."""
        return self.events / self.users
