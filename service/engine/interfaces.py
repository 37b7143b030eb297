"""What an engine is put together from: one folds states, the other finds items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model.state_layout import F32
from service.engine.search.exact import Best, Queries, TargetRanks
from service.engine.state_codec import Batch
from service.engine.state_codec_kernels import Index


class Recurrence(Protocol):
    """Folds items into packed states (model.state_layout) of one model.

    floats: how many 4-byte words of a state are numbers; new_history: the state before any item.
    """

    floats: int
    new_history: bytes

    def sound(self, states: Batch) -> NDArray[np.bool_]:
        """Which states can have come from a fold."""
        ...

    def fold(self, states: Batch, picked: Sequence[int], rows: Sequence[Sequence[int] | Index]) -> list[bytes]:
        """The picked states, which must be sound, after their items' rows: at least one each."""
        ...

    def recurrent(self, state: bytes) -> F32:
        """Every number of a sound state's recurrence, the first layer's conv inputs computed."""
        ...


class Search(Protocol):
    """Finds rows of the embedding table (V + 1, D). Equal scores are in order of row; row 0 is no answer."""

    def best(self, queries: Queries) -> Best:
        """The rows of the highest products."""
        ...

    def ranks(self, queries: Queries, targets: Index) -> TargetRanks:
        """Where row targets[q] stands in the order of `best`, for each query, whose count does not matter."""
        ...

    def nearest(self, row: int, k: int) -> Best:
        """The rows nearest to this one by cosine, without itself; one query's answer."""
        ...

    def scores(self, rows: Index, output: F32) -> F32:
        """The products of `output` (D,) with these rows (N,)."""
        ...

    def measured(self) -> dict[str, float]:
        """What the search has found out about itself, for `Engine.describe`."""
        ...
