"""The CPU engine: core.ports.Engine over a bundle's arrays, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from model.artifact import Bundle
from model.state import F32
from service.core.errors import ItemNotFound
from service.core.ports import Folded, Rank, ScoredItem, StateDamaged, TopK, Turn
from service.engine.approximate import LARGE, ApproximateIndex
from service.engine.packing import Index
from service.engine.parameters import prepare
from service.engine.retrieval import Queries, exact
from service.engine.states import Folder, join

# Outputs on which an index's recall is measured: 2,560 places in answers, so 0.99 is known to +- 0.004.
_SAMPLES = 256

# Seconds on a core of 2024, for `cost`: a turn, an event folded, an answered or ranked item, a search in an index,
# and an item of the catalogue in an exact one.
_TURN, _EVENT, _ANSWERED, _SEARCH, _SCANNED = 7e-6, 10e-6, 1e-6, 1e-3, 6e-9


class CpuEngine:
    """A loaded model; see core.ports.Engine.

    A user's state remembers the last `seen_limit` known items: they are what `exclude_seen` leaves out. It keeps no
    fewer than the K - 1 from which the first layer's conv inputs are computed.
    """

    def __init__(self, bundle: Bundle, seen_limit: int, min_recall: float = 0.99, large: int = LARGE) -> None:
        self._bundle = replace(bundle, weights={})  # the kernels have theirs; a large table is not kept twice
        parameters = prepare(bundle)
        self._folder = Folder(bundle, parameters, max(seen_limit, bundle.config.conv_width - 1))
        self._rows = {item.item_id: row for row, item in enumerate(bundle.items, start=1)}
        self._embedding = parameters.embedding
        norms = np.linalg.norm(self._embedding, axis=1)
        self._per_norm = (1 / np.maximum(norms, np.finfo(np.float32).tiny)).astype(np.float32)
        # What a model without a start token says before the first item.
        self._popularity = np.array([item.popularity for item in bundle.items], np.float32)
        self._popular = 1 + np.argsort(-self._popularity, kind="stable")
        self._index: ApproximateIndex | None = None
        if bundle.config.items >= large:
            self._index = ApproximateIndex.build(self._embedding, self._sample_outputs(), min_recall)

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
            "metrics": dict(self._bundle.metrics) | self._measured(),
            "training_data": dict(self._bundle.training_data),
        }

    def run(self, turns: Sequence[Turn]) -> list[Folded | StateDamaged]:
        """Fold and answer all turns as one batch; see core.ports.Engine."""
        states = [self._folder.new_history if turn.state is None else turn.state for turn in turns]
        batch = join([state if len(state) % 4 == 0 else b"" for state in states])
        sound: list[bool] = self._folder.sound(batch).tolist()
        known = self._rows
        rows = [[row for item in turn.items if (row := known.get(item))] for turn in turns]
        pending = [n for n in range(len(turns)) if rows[n] and sound[n]]
        if pending:
            for n, state in zip(pending, self._folder.fold(batch, pending, [rows[n] for n in pending]), strict=True):
                states[n] = state
        return self._answers(turns, states, sound)

    def cost(self, turns: Sequence[Turn]) -> float:
        """About how many seconds `run` would take; see core.ports.Engine."""
        search = _SEARCH if self._index else _SCANNED * len(self._rows)
        seconds = _TURN * len(turns) + _EVENT * sum([len(turn.items) for turn in turns])
        for turn in turns:
            if isinstance(turn.ask, TopK):
                seconds += search + _ANSWERED * turn.ask.k
            elif turn.ask is not None:
                seconds += _ANSWERED * len(turn.ask.candidates)
        return seconds

    def similar(self, item_id: str, k: int) -> tuple[ScoredItem, ...]:
        """The `k` items nearest by cosine; see core.ports.Engine."""
        row = self._rows.get(item_id)
        if row is None:
            raise ItemNotFound("the live model does not know this item")
        direction = (self._embedding[row] * self._per_norm[row])[None]
        itself = np.array([row], np.uint32)
        only = Queries(direction, np.array([k]), itself, np.zeros(1, np.int64), np.ones(1, np.int64))
        best = exact(self._embedding, only, self._per_norm)
        return self._scored(best.rows[0], best.scores[0], int(best.found[0]))

    def difference(self, state: bytes, expected: bytes) -> float:
        """max |state - expected| / max |expected| over the recurrent state; see core.ports.Engine."""
        for data in (state, expected):
            if len(data) % 4 or not self._folder.sound(join([data]))[0]:
                raise self._damaged(data)
        found, wanted = self._folder.recurrent(state), self._folder.recurrent(expected)
        return float(np.abs(found - wanted).max() / max(float(np.abs(wanted).max()), 1e-30))

    def _measured(self) -> dict[str, float]:
        """What the engine has found out about itself."""
        return {"retrieval_recall@10": self._index.recall} if self._index else {}

    def _sample_outputs(self) -> F32:
        """What the network says after made-up histories, of items drawn by how popular they are: (S, D)."""
        rng = np.random.default_rng(0)
        edges = np.cumsum(self._popularity.astype(np.float64) + 1)
        rows = [1 + np.searchsorted(edges, rng.uniform(0, edges[-1], 1 + n % 16), "right") for n in range(_SAMPLES)]
        states = self._folder.fold(join([self._folder.new_history] * _SAMPLES), range(_SAMPLES), rows)
        return np.stack([np.frombuffer(state, np.float32, self._embedding.shape[1]) for state in states])

    def _damaged(self, data: bytes) -> StateDamaged:
        return StateDamaged(f"these {len(data)} bytes are no state of {4 * self._folder.floats} bytes and rows")

    def _answers(
        self, turns: Sequence[Turn], states: Sequence[bytes], sound: Sequence[bool]
    ) -> list[Folded | StateDamaged]:
        best = self._best(turns, states, [n for n in range(len(turns)) if sound[n]])
        answers: list[Folded | StateDamaged] = []
        for n, (turn, state) in enumerate(zip(turns, states, strict=True)):
            if sound[n]:
                items = self._rank(turn.ask, state) if isinstance(turn.ask, Rank) else best.get(n, ())
                answers.append(Folded(state, self._is_cold(state), items))
            else:
                answers.append(self._damaged(state))
        return answers

    def _is_cold(self, state: bytes) -> bool:
        return len(state) == 4 * self._folder.floats

    def _best(
        self, turns: Sequence[Turn], states: Sequence[bytes], sound: Sequence[int]
    ) -> dict[int, tuple[ScoredItem, ...]]:
        """What those turns hear that ask for the best items."""
        answers, asked, counts, excluding = {}, [], [], []
        for n in sound:
            if isinstance(ask := turns[n].ask, TopK):
                if self._is_cold(states[n]) and not self._bundle.config.start_token:
                    rows = self._popular[: ask.k]
                    answers[n] = self._scored(rows, self._popularity[rows - 1], len(rows))
                else:
                    asked.append(n)
                    counts.append(ask.k)
                    excluding.append(ask.exclude_seen)
        if asked:
            batch = join([states[n] for n in asked])
            outputs = batch.starts[:-1, None] + np.arange(self._embedding.shape[1])
            end = batch.starts[1:]
            begin = np.where(excluding, batch.starts[:-1] + self._folder.floats, end)
            queries = Queries(batch.numbers[outputs], np.array(counts), batch.words, begin, end)
            best = self._index.search(queries) if self._index else exact(self._embedding, queries)
            for n, rows, scores, found in zip(asked, best.rows, best.scores, best.found.tolist(), strict=True):
                answers[n] = self._scored(rows, scores, found)
        return answers

    def _rank(self, ask: Rank, state: bytes) -> tuple[ScoredItem, ...]:
        output = np.frombuffer(state, np.float32, self._embedding.shape[1])
        rows = np.array([self._rows.get(item, 0) for item in ask.candidates], np.int64)
        scores = self._embedding[rows] @ output
        scores[rows == 0] = -np.inf
        order = np.lexsort((rows, -scores)).tolist()
        items = self._bundle.items
        return tuple(
            ScoredItem(ask.candidates[n], float(scores[n]), items[row - 1].title, items[row - 1].categories)
            if (row := int(rows[n]))
            else ScoredItem(ask.candidates[n], None)
            for n in order
        )

    def _scored(self, rows: Index, scores: F32, found: int) -> tuple[ScoredItem, ...]:
        items, answer = self._bundle.items, []
        for row, score in zip(rows[:found].tolist(), scores[:found].tolist(), strict=True):
            item = items[row - 1]
            answer.append(ScoredItem(item.item_id, score, item.title, item.categories))
        return tuple(answer)
