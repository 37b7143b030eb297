"""The CPU engine: core.ports.Engine over a bundle's arrays, without torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from model.artifact import Bundle
from model.state import F32, PackedState, Rows, StateLayout
from service.core.errors import ItemNotFound
from service.core.ports import Folded, Rank, ScoredItem, StateDamaged, TopK, Turn
from service.engine.fold import States, fold, item_inputs
from service.engine.parameters import prepare
from service.engine.retrieval import top_k

# Steps in one call of `fold`: bounds its temporaries to some tens of megabytes.
_STEPS = 8192


class CpuEngine:
    """A loaded model; see core.ports.Engine.

    A user's state remembers the last `seen_limit` known items: they are what `exclude_seen` leaves out. It keeps no
    fewer than the K - 1 from which the first layer's conv inputs are computed.
    """

    def __init__(self, bundle: Bundle, seen_limit: int) -> None:
        self._bundle = bundle
        self._kept = max(seen_limit, bundle.config.conv_width - 1)
        self._parameters = prepare(bundle)
        self._layout = StateLayout(bundle.config)
        self._rows = {item.item_id: row for row, item in enumerate(bundle.items, start=1)}
        embedding = self._parameters.embedding
        norms = np.linalg.norm(embedding, axis=1, keepdims=True)
        self._directions = embedding / np.maximum(norms, np.finfo(np.float32).tiny)
        self._popularity = np.array([0, *(item.popularity for item in bundle.items)], np.float32)
        self._begin = self._new_history()

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
            "metrics": dict(self._bundle.metrics),
            "training_data": dict(self._bundle.training_data),
        }

    def run(self, turns: Sequence[Turn]) -> list[Folded | StateDamaged]:
        """Fold and answer all turns as one batch; see core.ports.Engine."""
        before: list[PackedState | StateDamaged] = [self._unpack(turn.state) for turn in turns]
        after = list(before)
        new_rows = [self._known_rows(turn.items) for turn in turns]
        pending = [n for n, rows in enumerate(new_rows) if rows.size and not isinstance(before[n], StateDamaged)]
        for group in _groups(pending, [rows.size for rows in new_rows]):
            states = [state for n in group if isinstance(state := before[n], PackedState)]
            for n, state in zip(group, self._fold(states, [new_rows[n] for n in group]), strict=True):
                after[n] = state
        return self._answers(turns, after)

    def similar(self, item_id: str, k: int) -> tuple[ScoredItem, ...]:
        """The `k` items nearest by cosine; see core.ports.Engine."""
        row = self._rows.get(item_id)
        if row is None:
            raise ItemNotFound("the live model does not know this item")
        cosine = self._directions @ self._directions[row]
        cosine[[0, row]] = -np.inf
        return tuple(self._scored(n, cosine[n]) for n in top_k(cosine, k).tolist())

    def difference(self, state: bytes, expected: bytes) -> float:
        """max |state - expected| / max |expected| over the recurrent state; see core.ports.Engine."""
        found, wanted = (self._recurrent(self._unpack(data)) for data in (state, expected))
        return float(np.abs(found - wanted).max() / max(float(np.abs(wanted).max()), 1e-30))

    def _recurrent(self, state: PackedState | StateDamaged) -> F32:
        """Every number of the recurrent state, (L * K * H,)."""
        if isinstance(state, StateDamaged):
            raise state
        states = self._stack([state])
        return np.concatenate([states.h.ravel(), states.conv.ravel()])

    def _new_history(self) -> PackedState:
        initial = self._parameters.initial_state
        states = States(
            output=np.zeros((1, self._bundle.config.dim), np.float32),
            h=np.ascontiguousarray(initial[None, :, -1]),
            conv=np.ascontiguousarray(initial[None, :, :-1]),
        )
        if self._bundle.config.start_token:
            states = fold(self._parameters, np.zeros((1, 1), np.int64), np.ones(1, np.int64), states)
        self._begin_conv = states.conv[0, 0]
        return PackedState(states.output[0], states.h[0], states.conv[0, 1:], np.empty(0, np.uint32))

    def _unpack(self, data: bytes | None) -> PackedState | StateDamaged:
        if data is None:
            return self._begin
        try:
            return self._layout.unpack(data)
        except ValueError as error:
            return StateDamaged(str(error))

    def _known_rows(self, items: Sequence[str]) -> Rows:
        rows = (self._rows.get(item, 0) for item in items)
        return np.array([row for row in rows if row], np.uint32)

    def _fold(self, before: list[PackedState], new_rows: list[Rows]) -> list[PackedState]:
        lengths = np.array([rows.size for rows in new_rows])
        padded = np.zeros((len(before), int(lengths.max())), np.int64)
        for line, rows in zip(padded, new_rows, strict=True):
            line[: rows.size] = rows
        states = fold(self._parameters, padded, lengths, self._stack(before))
        return [
            PackedState(
                states.output[n],
                states.h[n],
                states.conv[n, 1:],
                np.concatenate([before[n].rows, new_rows[n]])[-self._kept :],
            )
            for n in range(len(before))
        ]

    def _stack(self, states: Sequence[PackedState]) -> States:
        """Packed states side by side, the first layer's conv inputs computed from the last K - 1 items."""
        taps = self._bundle.config.conv_width - 1
        recent = np.zeros((len(states), taps), np.int64)
        conv = np.empty((len(states), *self._parameters.initial_state[:, :-1].shape), np.float32)
        for n, state in enumerate(states):
            tail = state.rows[-taps:]
            recent[n, taps - tail.size :] = tail
            conv[n, 1:] = state.conv
        H = self._bundle.config.hidden
        conv[:, 0] = item_inputs(self._parameters, recent) @ self._parameters.layers[0].input[:, :H]
        for n, state in enumerate(states):
            if (count := state.rows.size) < taps:
                conv[n, 0, : taps - count] = self._begin_conv[count:]
        return States(
            output=np.stack([state.output for state in states]),
            h=np.stack([state.h for state in states]),
            conv=conv,
        )

    def _answers(
        self, turns: Sequence[Turn], states: Sequence[PackedState | StateDamaged]
    ) -> list[Folded | StateDamaged]:
        asked = [
            n
            for n, (turn, state) in enumerate(zip(turns, states, strict=True))
            if isinstance(turn.ask, TopK) and isinstance(state, PackedState)
        ]
        scores: dict[int, F32] = {}
        if asked:
            outputs = np.stack([state.output for n in asked if isinstance(state := states[n], PackedState)])
            scores = dict(zip(asked, outputs @ self._parameters.embedding.T, strict=True))
        return [
            state if isinstance(state, StateDamaged) else self._answer(turn, state, scores.get(n))
            for n, (turn, state) in enumerate(zip(turns, states, strict=True))
        ]

    def _answer(self, turn: Turn, state: PackedState, scores: F32 | None) -> Folded:
        cold = state.rows.size == 0
        items: tuple[ScoredItem, ...] = ()
        if isinstance(turn.ask, Rank):
            items = self._rank(turn.ask, state)
        elif isinstance(turn.ask, TopK) and scores is not None:
            if cold and not self._bundle.config.start_token:
                scores = self._popularity.copy()  # such a model says nothing before the first item
            scores[0] = -np.inf
            if turn.ask.exclude_seen:
                scores[state.rows] = -np.inf
            items = tuple(self._scored(row, scores[row]) for row in top_k(scores, turn.ask.k).tolist())
        return Folded(self._layout.pack(state), cold, items)

    def _rank(self, ask: Rank, state: PackedState) -> tuple[ScoredItem, ...]:
        rows = np.array([self._rows.get(item, 0) for item in ask.candidates], np.int64)
        scores = self._parameters.embedding[rows] @ state.output
        scores[rows == 0] = -np.inf
        order = np.lexsort((rows, -scores)).tolist()
        return tuple(
            self._scored(int(rows[n]), scores[n]) if rows[n] else ScoredItem(ask.candidates[n], None) for n in order
        )

    def _scored(self, row: int, score: np.float32) -> ScoredItem:
        item = self._bundle.items[row - 1]
        return ScoredItem(item.item_id, float(score), item.title, item.categories)


def _groups(members: list[int], sizes: list[int]) -> Iterator[list[int]]:
    """Members with similar sizes together, so that little of a padded batch is padding."""
    group: list[int] = []
    for member in sorted(members, key=lambda n: sizes[n]):
        grown = sizes[member] * (len(group) + 1)
        if group and (grown > _STEPS or sizes[member] > 2 * sizes[group[0]]):
            yield group
            group = []
        group.append(member)
    if group:
        yield group
