"""Engine over a bundle: turns requests into replays and searches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from model.bundle.bundle import Bundle
from model.bundle.event_types import encode_event_types
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
from service.engine.candidates import rank_candidates
from service.engine.event_codes import EventCodes
from service.engine.interfaces import Recurrence, Search
from service.engine.known_items import ItemsOfEngine, KnownItems
from service.engine.search.popularity import PopularityOrder
from service.engine.search.top_k_queries import TopKQueries
from service.engine.state_codec import StateBatch, join_states


class BundleEngine(ItemsOfEngine):
    """A loaded model; see core.ports.Engine. A subclass adds `cost`."""

    def __init__(self, bundle: Bundle, recurrence: Recurrence, search: Search) -> None:
        super().__init__(bundle)
        self.version = bundle.version
        # The backends hold the weights; a large table must not be held twice.
        self._bundle = replace(bundle, weights={})
        self._recurrence, self._search = recurrence, search
        self._codec, self._layout = recurrence.codec, recurrence.codec.layout
        self._cold_state_bytes = self._layout.float_bytes  # size of a state without rows
        self._codes = EventCodes(bundle.event_types)
        self.event_types = self._codes.types
        # A model without a start token orders items by popularity before a user's first item.
        self._popularity = PopularityOrder(np.array([item.popularity for item in bundle.items], np.float32))

    def describe(self) -> dict[str, Any]:
        """Return version, config, metrics and training-data summary, ready for JSON."""
        return {
            "version": self._bundle.version,
            "created": self._bundle.created,
            "config": self._bundle.config.to_dict(),
            "metrics": dict(self._bundle.metrics) | self._search.metrics(),
            "training_data": dict(self._bundle.training_data),
        } | encode_event_types(self._bundle.event_types)

    def run(self, requests: Sequence[EngineRequest]) -> list[EngineResult | StateDamagedError]:
        """Replay and answer all requests as one batch; see core.ports.Engine."""
        known = self._known  # items that are appended meanwhile are for the next batch
        states = [self._recurrence.initial_state if request.state is None else request.state for request in requests]
        batch = join_states([state if len(state) % WORD_BYTES == 0 else b"" for state in states])
        valid: list[bool] = self._codec.valid(batch, known.appended.last_row).tolist()
        row_of, codes_of = known.row_of, self._codes.of
        events = [
            codes_of(request.items, request.types, row_of)
            if request.types
            else [row for item in request.items if (row := row_of(item))]  # the code of a view is its row
            for request in requests
        ]
        ranks: dict[int, list[TargetRank]] = {}
        if evaluated := [n for n, request in enumerate(requests) if request.evaluated and valid[n]]:
            ranks, advanced = self._evaluate(known, requests, evaluated, states, events, batch)
            if advanced:
                batch = join_states([state if ok else b"" for state, ok in zip(states, valid, strict=True)])
        if pending := [n for n in range(len(requests)) if events[n] and valid[n]]:
            after = self._recurrence.replay(batch, pending, [events[n] for n in pending], known.appended)
            for n, state in zip(pending, after, strict=True):
                states[n] = state
        top_k = self._top_k(known, requests, states, [n for n in range(len(requests)) if valid[n]])
        results: list[EngineResult | StateDamagedError] = []
        for n, (request, state) in enumerate(zip(requests, states, strict=True)):
            if valid[n]:
                query = request.query
                items = self._rank(known, query, state) if isinstance(query, RankCandidates) else top_k.get(n, ())
                cold = len(state) == self._cold_state_bytes
                results.append(EngineResult(state, cold, items, tuple(ranks.get(n, ()))))
            else:
                results.append(self._damaged(state))
        return results

    def similar(
        self, item_id: str, k: int, allowed: AllowedRows | None = None, exclude: Sequence[str] = ()
    ) -> tuple[ScoredItem, ...]:
        """Return the `k` items nearest by cosine; see core.ports.Engine."""
        known = self._known
        self._check_filter(allowed)
        if not (row := known.row_of(item_id)):
            raise ItemNotFound("the live model does not know this item")
        result = self._search.nearest(row, k, allowed, known.rows_of(exclude), known.appended)
        return known.scored(result.rows[0], result.scores[0], int(result.lengths[0]))

    def difference(self, state: bytes, expected: bytes) -> float:
        """Return the relative difference of two states; see core.ports.Engine."""
        appended = self._known.appended
        for data in (state, expected):
            if len(data) % WORD_BYTES or not self._codec.valid(join_states([data]), appended.last_row)[0]:
                raise self._damaged(data)
        found, wanted = (self._recurrence.recurrent_values(data, appended) for data in (state, expected))
        return float(np.abs(found - wanted).max() / max(float(np.abs(wanted).max()), 1e-30))

    def _is_cold(self, state: bytes) -> bool:
        return len(state) == self._cold_state_bytes

    def _damaged(self, data: bytes) -> StateDamagedError:
        return StateDamagedError(f"{len(data)} bytes are not a state of {self._cold_state_bytes} bytes and rows")

    def _evaluate(
        self,
        known: KnownItems,
        requests: Sequence[EngineRequest],
        evaluated: Sequence[int],
        states: list[bytes],
        events: list[list[int]],
        batch: StateBatch,
    ) -> tuple[dict[int, list[TargetRank]], bool]:
        """Rank the target items of the evaluated events.

        `evaluated` are indices of requests with valid states, and `batch` holds the states as given. The n-th
        evaluated events of all requests are ranked together, after a replay of the events before them (decision
        0053). `states` are advanced to each request's last evaluated event, and `events` then hold the rest.

        Returns:
            The ranks by request, and whether any state was advanced.
        """
        ranks: dict[int, list[TargetRank]] = {n: [] for n in evaluated}
        replayed, advanced = dict.fromkeys(evaluated, 0), False
        for nth in range(max(len(requests[n].evaluated) for n in evaluated)):
            current = [n for n in evaluated if nth < len(requests[n].evaluated)]
            targets, before = [], {}
            for n in current:
                request, event = requests[n], requests[n].evaluated[nth]
                earlier = slice(replayed[n], event)
                if codes := self._codes.of(request.items[earlier], request.types[earlier], known.row_of):
                    before[n] = codes
                replayed[n] = event
                targets.append(known.row_of(request.items[event]) or 0)  # 0: it was removed meanwhile
            if before:
                joined = join_states([states[n] for n in before])
                after = self._recurrence.replay(joined, range(len(before)), list(before.values()), known.appended)
                for n, state in zip(before, after, strict=True):
                    states[n] = state
                advanced = True
            current_states = [states[n] for n in current]
            if advanced:
                queries = self._queries(join_states(current_states), [0] * len(current))
            else:
                queries = self._queries(batch, [0] * len(current), current)
            for n, rank in zip(current, self._target_ranks(known, current_states, queries, targets), strict=True):
                ranks[n].append(rank)
        if advanced:
            for n in evaluated:
                items, types = requests[n].items[replayed[n] :], requests[n].types[replayed[n] :]
                events[n] = self._codes.of(items, types, known.row_of)
        return ranks, advanced

    def _target_ranks(
        self, known: KnownItems, states: Sequence[bytes], queries: TopKQueries, targets: Sequence[int]
    ) -> list[TargetRank]:
        cold = [self._is_cold(state) for state in states]
        ranks = self._search.target_ranks(queries, np.array(targets), known.appended)
        found = list(map(TargetRank, cold, ranks.among_all.tolist(), ranks.among_unseen.tolist()))
        if self._bundle.config.start_token:
            return found
        popularity_rank = self._popularity.rank
        return [
            TargetRank(True, popularity_rank(row), popularity_rank(row)) if rank.cold else rank
            for rank, row in zip(found, targets, strict=True)
        ]

    def _top_k(
        self, known: KnownItems, requests: Sequence[EngineRequest], states: Sequence[bytes], valid: Sequence[int]
    ) -> dict[int, tuple[ScoredItem, ...]]:
        """Return the results of top-k requests, by index of the request."""
        results, searched, ks, exclude_seen, asked, restricted = {}, [], [], [], [], False
        for n in valid:
            if isinstance(query := requests[n].query, TopK):
                if query.allowed is not None:
                    self._check_filter(query.allowed)
                if len(states[n]) == self._cold_state_bytes and not self._bundle.config.start_token:
                    excluded, last_row = known.rows_of(query.exclude), known.appended.last_row
                    rows, popularity = self._popularity.top_k(query.k, query.allowed, excluded, last_row)
                    results[n] = known.scored(rows, popularity, len(rows))
                else:
                    searched.append(n)
                    asked.append(query)
                    ks.append(query.k)
                    exclude_seen.append(query.exclude_seen)
                    restricted |= query.allowed is not None or bool(query.exclude)
        if searched:
            queries = self._queries(join_states([states[n] for n in searched]), ks, None, exclude_seen)
            if restricted:
                left_out = [known.rows_of(query.exclude) for query in asked]
                queries = queries.restricted([query.allowed for query in asked], left_out)
            found = self._search.top_k(queries, known.appended)
            for n, rows, scores, length in zip(
                searched, found.rows, found.scores, found.lengths.tolist(), strict=True
            ):
                results[n] = known.scored(rows, scores, length)
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

    def _rank(self, known: KnownItems, query: RankCandidates, state: bytes) -> tuple[ScoredItem, ...]:
        """Return the candidates by score; unknown ones are last, without a score."""
        self._check_filter(query.allowed)
        rows = np.array([known.row_of(item) or 0 for item in query.candidates], np.int64)
        scores = self._search.scores(rows, self._layout.output(state), known.appended)
        excluded = np.array(known.rows_of(query.exclude), np.int64)
        return rank_candidates(query, rows, scores, excluded, len(self._items))
