"""Engine over a bundle: turns requests into replays and searches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from model.bundle.bundle import Bundle
from model.compiled.array_types import F32, I64
from model.state_layout import WORD_BYTES
from service.core.engine_requests import (
    AllowedRows,
    EngineRequest,
    EngineResult,
    RankCandidates,
    ScoredItem,
    TargetRank,
    TopK,
)
from service.core.errors import ItemNotFound, StateDamagedError
from service.core.event_types.effects import UNNAMED_TYPES, EventTypes
from service.engine.candidates import rank_candidates
from service.engine.interfaces import Recurrence, Search
from service.engine.search.popularity import PopularityOrder
from service.engine.search.top_k_queries import TopKQueries
from service.engine.state_codec import StateBatch, join_states


class BundleEngine:
    """A loaded model; see core.ports.Engine. A subclass adds `cost`."""

    def __init__(self, bundle: Bundle, recurrence: Recurrence, search: Search) -> None:
        self.version = bundle.version
        # The backends hold the weights; a large table must not be held twice.
        self._bundle = replace(bundle, weights={})
        self._recurrence, self._search = recurrence, search
        self._codec, self._layout = recurrence.codec, recurrence.codec.layout
        self._cold_state_bytes = self._layout.float_bytes  # size of a state without rows
        self._rows = {item.item_id: row for row, item in enumerate(bundle.items, start=1)}
        # A model without a start token orders items by popularity before a user's first item.
        self._popularity = PopularityOrder(np.array([item.popularity for item in bundle.items], np.float32))

    @property
    def item_ids(self) -> Sequence[str]:
        """Items that the model knows, in order of row."""
        return tuple(self._rows)

    def knows(self, item_id: str) -> bool:
        """Return whether the model has an embedding for the item."""
        return item_id in self._rows

    @property
    def event_types(self) -> EventTypes:
        """Effects of the types of events; see core.ports.Engine."""
        return UNNAMED_TYPES

    def describe(self) -> dict[str, Any]:
        """Return version, config, metrics and training-data summary, ready for JSON."""
        return {
            "version": self._bundle.version,
            "created": self._bundle.created,
            "config": self._bundle.config.to_dict(),
            "metrics": dict(self._bundle.metrics) | self._search.metrics(),
            "training_data": dict(self._bundle.training_data),
        }

    def run(self, requests: Sequence[EngineRequest]) -> list[EngineResult | StateDamagedError]:
        """Replay and answer all requests as one batch; see core.ports.Engine."""
        states = [self._recurrence.initial_state if request.state is None else request.state for request in requests]
        batch = join_states([state if len(state) % WORD_BYTES == 0 else b"" for state in states])
        valid: list[bool] = self._codec.valid(batch).tolist()
        known = self._rows
        rows = [[row for item in request.items if (row := known.get(item))] for request in requests]
        ranks: dict[int, list[TargetRank]] = {}
        if evaluated := [n for n, request in enumerate(requests) if request.evaluated and valid[n]]:
            ranks, advanced = self._evaluate(requests, evaluated, states, rows, batch)
            if advanced:
                batch = join_states([state if ok else b"" for state, ok in zip(states, valid, strict=True)])
        if pending := [n for n in range(len(requests)) if rows[n] and valid[n]]:
            after = self._recurrence.replay(batch, pending, [rows[n] for n in pending])
            for n, state in zip(pending, after, strict=True):
                states[n] = state
        top_k = self._top_k(requests, states, [n for n in range(len(requests)) if valid[n]])
        results: list[EngineResult | StateDamagedError] = []
        for n, (request, state) in enumerate(zip(requests, states, strict=True)):
            if valid[n]:
                query = request.query
                items = self._rank(query, state) if isinstance(query, RankCandidates) else top_k.get(n, ())
                cold = len(state) == self._cold_state_bytes
                results.append(EngineResult(state, cold, items, tuple(ranks.get(n, ()))))
            else:
                results.append(self._damaged(state))
        return results

    def similar(
        self, item_id: str, k: int, allowed: AllowedRows | None = None, exclude: Sequence[str] = ()
    ) -> tuple[ScoredItem, ...]:
        """Return the `k` items nearest by cosine; see core.ports.Engine."""
        row = self._rows.get(item_id)
        if row is None:
            raise ItemNotFound("the live model does not know this item")
        result = self._search.nearest(row, k, allowed, self._known_rows(exclude))
        return self._scored_items(result.rows[0], result.scores[0], int(result.lengths[0]))

    def difference(self, state: bytes, expected: bytes) -> float:
        """Return the relative difference of two states; see core.ports.Engine."""
        for data in (state, expected):
            if len(data) % WORD_BYTES or not self._codec.valid(join_states([data]))[0]:
                raise self._damaged(data)
        found, wanted = self._recurrence.recurrent_values(state), self._recurrence.recurrent_values(expected)
        return float(np.abs(found - wanted).max() / max(float(np.abs(wanted).max()), 1e-30))

    def _known_rows(self, items: Sequence[str]) -> list[int]:
        known = self._rows
        return [row for item in items if (row := known.get(item))]

    def _is_cold(self, state: bytes) -> bool:
        return len(state) == self._cold_state_bytes

    def _damaged(self, data: bytes) -> StateDamagedError:
        return StateDamagedError(f"{len(data)} bytes are not a state of {self._cold_state_bytes} bytes and rows")

    def _evaluate(
        self,
        requests: Sequence[EngineRequest],
        evaluated: Sequence[int],
        states: list[bytes],
        rows: list[list[int]],
        batch: StateBatch,
    ) -> tuple[dict[int, list[TargetRank]], bool]:
        """Rank the target items of the evaluated events.

        `evaluated` are indices of requests with valid states, and `batch` holds the states as given. The n-th
        evaluated events of all requests are ranked together, after a replay of the events before them (decision
        0053). `states` are advanced to each request's last evaluated event, and `rows` then hold the rest.

        Returns:
            The ranks by request, and whether any state was advanced.
        """
        ranks: dict[int, list[TargetRank]] = {n: [] for n in evaluated}
        replayed, advanced = dict.fromkeys(evaluated, 0), False
        for nth in range(max(len(requests[n].evaluated) for n in evaluated)):
            current = [n for n in evaluated if nth < len(requests[n].evaluated)]
            targets, before = [], {}
            for n in current:
                items, event = requests[n].items, requests[n].evaluated[nth]
                if known := self._known_rows(items[replayed[n] : event]):
                    before[n] = known
                replayed[n] = event
                targets.append(self._rows[items[event]])
            if before:
                joined = join_states([states[n] for n in before])
                after = self._recurrence.replay(joined, range(len(before)), list(before.values()))
                for n, state in zip(before, after, strict=True):
                    states[n] = state
                advanced = True
            current_states = [states[n] for n in current]
            if advanced:
                queries = self._queries(join_states(current_states), [0] * len(current))
            else:
                queries = self._queries(batch, [0] * len(current), current)
            for n, rank in zip(current, self._target_ranks(current_states, queries, targets), strict=True):
                ranks[n].append(rank)
        if advanced:
            for n in evaluated:
                rows[n] = self._known_rows(requests[n].items[replayed[n] :])
        return ranks, advanced

    def _target_ranks(
        self, states: Sequence[bytes], queries: TopKQueries, targets: Sequence[int]
    ) -> list[TargetRank]:
        cold = [self._is_cold(state) for state in states]
        ranks = self._search.target_ranks(queries, np.array(targets))
        found = list(map(TargetRank, cold, ranks.among_all.tolist(), ranks.among_unseen.tolist()))
        if self._bundle.config.start_token:
            return found
        popularity_rank = self._popularity.rank
        return [
            TargetRank(True, popularity_rank(row), popularity_rank(row)) if rank.cold else rank
            for rank, row in zip(found, targets, strict=True)
        ]

    def _top_k(
        self, requests: Sequence[EngineRequest], states: Sequence[bytes], valid: Sequence[int]
    ) -> dict[int, tuple[ScoredItem, ...]]:
        """Return the results of top-k requests, by index of the request."""
        results, searched, ks, exclude_seen, asked, restricted = {}, [], [], [], [], False
        for n in valid:
            if isinstance(query := requests[n].query, TopK):
                if len(states[n]) == self._cold_state_bytes and not self._bundle.config.start_token:
                    rows, popularity = self._popularity.top_k(query.k, query.allowed, self._known_rows(query.exclude))
                    results[n] = self._scored_items(rows, popularity, len(rows))
                else:
                    searched.append(n)
                    asked.append(query)
                    ks.append(query.k)
                    exclude_seen.append(query.exclude_seen)
                    restricted |= query.allowed is not None or bool(query.exclude)
        if searched:
            queries = self._queries(join_states([states[n] for n in searched]), ks, None, exclude_seen)
            if restricted:
                excluded = [self._known_rows(query.exclude) for query in asked]
                queries = queries.restricted([query.allowed for query in asked], excluded)
            found = self._search.top_k(queries)
            for n, rows, scores, length in zip(
                searched, found.rows, found.scores, found.lengths.tolist(), strict=True
            ):
                results[n] = self._scored_items(rows, scores, length)
        return results

    def _queries(
        self,
        batch: StateBatch,
        k: Sequence[int],
        selected: Sequence[int] | None = None,
        exclude_seen: Sequence[bool] | None = None,
    ) -> TopKQueries:
        """Return the queries of a batch's states.

        Args:
            batch: valid states.
            k: how many rows each query asks for.
            selected: indices of the states to query; None: all.
            exclude_seen: whether each query excludes the state's rows; None: all do.
        """
        start, end = batch.starts[:-1], batch.starts[1:]
        if selected is not None:
            start, end = start[selected], end[selected]
        output_words = start[:, None] + np.arange(self._layout.dim)
        excluded_start = start + self._layout.rows_start
        if exclude_seen is not None:
            excluded_start = np.where(exclude_seen, excluded_start, end)
        return TopKQueries(batch.words.view(np.float32)[output_words], np.array(k), batch.words, excluded_start, end)

    def _rank(self, query: RankCandidates, state: bytes) -> tuple[ScoredItem, ...]:
        """Return the candidates by score; unknown ones are last, without a score."""
        rows = np.array([self._rows.get(item, 0) for item in query.candidates], np.int64)
        scores = self._search.scores(rows, self._layout.output(state))
        excluded = self._known_rows(query.exclude)
        return rank_candidates(query, rows, scores, np.array(excluded, np.int64), len(self._bundle.items))

    def _scored_items(self, rows: I64, scores: F32, length: int) -> tuple[ScoredItem, ...]:
        items = self._bundle.items
        pairs = zip(rows[:length].tolist(), scores[:length].tolist(), strict=True)
        return tuple([ScoredItem(items[row - 1].item_id, score) for row, score in pairs])
