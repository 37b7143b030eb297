"""Interfaces of an engine's two backends: recurrence and search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from model.compiled.array_types import F32, I64
from service.core.engine_requests import AllowedRows
from service.engine.appended_items import AppendedItems
from service.engine.search.top_k_queries import TargetRanks, TopKQueries, TopKResult
from service.engine.state_codec import StateBatch, StateCodec


class Recurrence(Protocol):
    """Replays events onto the packed states of one model (model.state_layout).

    codec          the format of the states
    initial_state  the state before any item
    """

    codec: StateCodec
    initial_state: bytes

    def replay(
        self,
        states: StateBatch,
        selected: Sequence[int],
        events: Sequence[Sequence[int] | I64],
        appended: AppendedItems,
    ) -> list[bytes]:
        """Advance some states by their events.

        Args:
            states: packed states.
            selected: indices of the states to advance, which must be valid.
            events: for each selected state the codes of its events (see `state_codec`), oldest first; at least one.
            appended: the items after the trained ones.

        Returns:
            The selected states after their events.
        """
        ...

    def recurrent_values(self, state: bytes, appended: AppendedItems) -> F32:
        """Return all recurrent numbers of a valid state.

        The first layer's conv inputs, which are not stored, are recomputed.
        """
        ...


class Search(Protocol):
    """Finds rows of the embedding table, and of appended items.

    The table is (V + 1, D).

    Equal scores are in order of row. Row 0 is not an item and never found, and neither is a row that a query's filter
    forbids, or an appended one without a filter. `top_k` returns fewer rows than asked for only if there are no more.
    """

    def top_k(self, queries: TopKQueries, appended: AppendedItems) -> TopKResult:
        """Return the rows with the highest products."""
        ...

    def target_ranks(self, queries: TopKQueries, targets: I64, appended: AppendedItems) -> TargetRanks:
        """Return the rank of each query's target row among the query's results.

        targets (Q,) are rows. The order is that of `top_k` without a limit, with all rows allowed: the queries' k and
        filters are ignored.
        """
        ...

    def nearest(
        self, row: int, k: int, allowed: AllowedRows | None, excluded: Sequence[int], appended: AppendedItems
    ) -> TopKResult:
        """Return the `k` allowed rows nearest to `row` by cosine.

        `row` and the excluded rows are not among them.
        """
        ...

    def scores(self, rows: I64, output: F32, appended: AppendedItems) -> F32:
        """Return the products of `output` (D,) and these rows (N,)."""
        ...

    def metrics(self) -> dict[str, float]:
        """Return measured properties of the search, such as its recall, for `Engine.describe`."""
        ...
