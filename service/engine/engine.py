"""core.ports.Engine over a bundle: turns become folds and searches. Where these are computed is handed in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from model.bundle.bundle import Bundle
from model.state_layout import F32
from service.core.engine_requests import (
    EngineRequest,
    EngineResult,
    RankCandidates,
    ScoredItem,
    StateDamagedError,
    TargetRank,
    TopK,
)
from service.core.errors import ItemNotFound
from service.engine.interfaces import Recurrence, Search
from service.engine.search.exact import Queries
from service.engine.state_codec import Batch, join
from service.engine.state_codec_kernels import Index


class BundleEngine:
    """A loaded model; see core.ports.Engine, of which a subclass adds `cost`."""

    def __init__(self, bundle: Bundle, folder: Recurrence, search: Search) -> None:
        self._bundle = replace(bundle, weights={})  # folder and search have theirs; a large table is not kept twice
        self._folder, self._search = folder, search
        self._rows = {item.item_id: row for row, item in enumerate(bundle.items, start=1)}
        # What a model without a start token says before the first item.
        self._popularity = np.array([item.popularity for item in bundle.items], np.float32)
        self._popular = 1 + np.argsort(-self._popularity, kind="stable")
        self._by_popularity = [0, *(1 + np.argsort(self._popular, kind="stable")).tolist()]

    @property
    def version(self) -> str:
        """The bundle's version."""
        return self._bundle.version

    def knows(self, item_id: str) -> bool:
        """Whether the model has an embedding for the item."""
        return item_id in self._rows

    def describe(self) -> dict[str, Any]:
        """Version, config, metrics and training-data summary, ready for JSON."""
        return {
            "version": self._bundle.version,
            "created": self._bundle.created,
            "config": self._bundle.config.to_dict(),
            "metrics": dict(self._bundle.metrics) | self._search.measured(),
            "training_data": dict(self._bundle.training_data),
        }

    def run(self, requests: Sequence[EngineRequest]) -> list[EngineResult | StateDamagedError]:
        """Fold and answer all turns as one batch; see core.ports.Engine."""
        states = [self._folder.new_history if request.state is None else request.state for request in requests]
        batch = join([state if len(state) % 4 == 0 else b"" for state in states])
        sound: list[bool] = self._folder.sound(batch).tolist()
        known = self._rows
        rows = [[row for item in request.items if (row := known.get(item))] for request in requests]
        ranks: dict[int, list[TargetRank]] = {}
        if evaluated := [n for n, request in enumerate(requests) if request.evaluated and sound[n]]:
            ranks, moved = self._evaluate(requests, evaluated, states, rows, batch)
            if moved:
                batch = join([state if fit else b"" for state, fit in zip(states, sound, strict=True)])
        pending = [n for n in range(len(requests)) if rows[n] and sound[n]]
        if pending:
            for n, state in zip(pending, self._folder.fold(batch, pending, [rows[n] for n in pending]), strict=True):
                states[n] = state
        return self._answers(requests, states, sound, ranks)

    def similar(self, item_id: str, k: int) -> tuple[ScoredItem, ...]:
        """The `k` items nearest by cosine; see core.ports.Engine."""
        row = self._rows.get(item_id)
        if row is None:
            raise ItemNotFound("the live model does not know this item")
        best = self._search.nearest(row, k)
        return self._scored(best.rows[0], best.scores[0], int(best.found[0]))

    def difference(self, state: bytes, expected: bytes) -> float:
        """max |state - expected| / max |expected| over the recurrent state; see core.ports.Engine."""
        for data in (state, expected):
            if len(data) % 4 or not self._folder.sound(join([data]))[0]:
                raise self._damaged(data)
        found, wanted = self._folder.recurrent(state), self._folder.recurrent(expected)
        return float(np.abs(found - wanted).max() / max(float(np.abs(wanted).max()), 1e-30))

    def _evaluate(
        self,
        requests: Sequence[EngineRequest],
        evaluated: Sequence[int],
        states: list[bytes],
        rows: list[list[int]],
        batch: Batch,
    ) -> tuple[dict[int, list[TargetRank]], bool]:
        """Places for the judged turns. Their `states` and `rows` go on to where the last judged event is next.

        Says also whether a state went on; until one does, `batch` holds all states.

        The n-th judged event of every turn is placed in one go, after a fold of what came before it.
        """
        found: dict[int, list[TargetRank]] = {n: [] for n in evaluated}
        begun, moved = dict.fromkeys(evaluated, 0), False
        for nth in range(max(len(requests[n].evaluated) for n in evaluated)):
            asked = [n for n in evaluated if nth < len(requests[n].evaluated)]
            parts = {n: self._known(requests[n].items[begun[n] : requests[n].evaluated[nth]]) for n in asked}
            if before := [n for n in asked if parts[n]]:
                joined, everyone = join([states[n] for n in before]), range(len(before))
                after = self._folder.fold(joined, everyone, [parts[n] for n in before])
                for n, state in zip(before, after, strict=True):
                    states[n] = state
                moved = True
            begun |= {n: requests[n].evaluated[nth] for n in asked}
            targets = [self._rows[requests[n].items[begun[n]]] for n in asked]
            own = [states[n] for n in asked]
            queries = (
                self._queries(join(own), [0] * len(own)) if moved else self._queries(batch, [0] * len(own), asked)
            )
            for n, place in zip(asked, self._ranks(own, queries, targets), strict=True):
                found[n].append(place)
        if moved:
            for n in evaluated:
                rows[n] = self._known(requests[n].items[begun[n] :])
        return found, moved

    def _ranks(self, states: Sequence[bytes], queries: Queries, targets: Sequence[int]) -> list[TargetRank]:
        cold = [self._is_cold(state) for state in states]
        ranks = self._search.ranks(queries, np.array(targets))
        found = list(map(TargetRank, cold, ranks.among_all.tolist(), ranks.among_unseen.tolist()))
        if self._bundle.config.start_token:
            return found
        by_popularity = self._by_popularity
        return [
            TargetRank(True, by_popularity[row], by_popularity[row]) if place.cold else place
            for place, row in zip(found, targets, strict=True)
        ]

    def _known(self, items: Sequence[str]) -> list[int]:
        return [row for item in items if (row := self._rows.get(item))]

    def _damaged(self, data: bytes) -> StateDamagedError:
        return StateDamagedError(f"these {len(data)} bytes are no state of {4 * self._folder.floats} bytes and rows")

    def _answers(
        self,
        requests: Sequence[EngineRequest],
        states: Sequence[bytes],
        sound: Sequence[bool],
        ranks: dict[int, list[TargetRank]],
    ) -> list[EngineResult | StateDamagedError]:
        best = self._best(requests, states, [n for n in range(len(requests)) if sound[n]])
        answers: list[EngineResult | StateDamagedError] = []
        for n, (request, state) in enumerate(zip(requests, states, strict=True)):
            if sound[n]:
                items = (
                    self._rank(request.query, state) if isinstance(request.query, RankCandidates) else best.get(n, ())
                )
                answers.append(EngineResult(state, self._is_cold(state), items, tuple(ranks.get(n, ()))))
            else:
                answers.append(self._damaged(state))
        return answers

    def _is_cold(self, state: bytes) -> bool:
        return len(state) == 4 * self._folder.floats

    def _best(
        self, requests: Sequence[EngineRequest], states: Sequence[bytes], sound: Sequence[int]
    ) -> dict[int, tuple[ScoredItem, ...]]:
        """What those turns hear that ask for the best items."""
        answers, asked, counts, excluding = {}, [], [], []
        for n in sound:
            if isinstance(query := requests[n].query, TopK):
                if self._is_cold(states[n]) and not self._bundle.config.start_token:
                    rows = self._popular[: query.k]
                    answers[n] = self._scored(rows, self._popularity[rows - 1], len(rows))
                else:
                    asked.append(n)
                    counts.append(query.k)
                    excluding.append(query.exclude_seen)
        if asked:
            best = self._search.best(self._queries(join([states[n] for n in asked]), counts, None, excluding))
            for n, rows, scores, found in zip(asked, best.rows, best.scores, best.found.tolist(), strict=True):
                answers[n] = self._scored(rows, scores, found)
        return answers

    def _queries(
        self,
        batch: Batch,
        counts: Sequence[int],
        which: Sequence[int] | None = None,
        excluding: Sequence[bool] | None = None,
    ) -> Queries:
        """What the outputs of a batch's states ask, or of some; `excluding`: each without what it has seen."""
        start, end = batch.starts[:-1], batch.starts[1:]
        if which is not None:
            start, end = start[which], end[which]
        outputs = start[:, None] + np.arange(self._bundle.config.dim)
        begin = start + self._folder.floats
        if excluding is not None:
            begin = np.where(excluding, begin, end)
        return Queries(batch.numbers[outputs], np.array(counts), batch.words, begin, end)

    def _rank(self, query: RankCandidates, state: bytes) -> tuple[ScoredItem, ...]:
        rows = np.array([self._rows.get(item, 0) for item in query.candidates], np.int64)
        scores = self._search.scores(rows, np.frombuffer(state, np.float32, self._bundle.config.dim))
        scores[rows == 0] = -np.inf
        order = np.lexsort((rows, -scores)).tolist()
        items = self._bundle.items
        return tuple(
            ScoredItem(query.candidates[n], float(scores[n]), items[row - 1].title, items[row - 1].categories)
            if (row := int(rows[n]))
            else ScoredItem(query.candidates[n], None)
            for n in order
        )

    def _scored(self, rows: Index, scores: F32, found: int) -> tuple[ScoredItem, ...]:
        items, answer = self._bundle.items, []
        for row, score in zip(rows[:found].tolist(), scores[:found].tolist(), strict=True):
            item = items[row - 1]
            answer.append(ScoredItem(item.item_id, score, item.title, item.categories))
        return tuple(answer)
