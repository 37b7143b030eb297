"""Audit of an answer against a new computation.

An answer is a function of the user's events up to its sequence, the model, the catalogue's revision, the question,
and the time of now(). The log keeps the events. The catalogue keeps the newest state of each item only. So items that
have changed since the revision are left out of the comparison, and counted.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, NamedTuple, Protocol

import numpy as np

from service.core.catalogue.copy_positions import CopyPositions
from service.core.catalogue.filter_request import FilterRequest
from service.core.catalogue.past_rows import PastMoment, PastRows
from service.core.catalogue.revision_history import RevisionGoneError, RevisionHistory
from service.core.catalogue.revisions import Revision, RevisionFormatError, decode_revision
from service.core.engine_requests import AllowedRows, EngineRequest, RankCandidates, ScoredItem, TopK
from service.core.errors import InvalidRequest
from service.core.event_types.exclusions import items_with_events
from service.core.events import AppendAndRead, LogView
from service.core.ports import Engine
from service.core.recommending.batching import BatchedEngine, BatchedStore
from service.core.recommending.eligibility import MICROSECONDS
from service.core.recommending.log_replay.snapshots import NewItems
from service.core.recommending.log_replay.user_replay import UserReplay

TOLERANCE = 1e-4  # of scores, relative to the largest: engines round differently


@dataclass(frozen=True, slots=True)
class GivenAnswer:
    """Answer as a client received it, with the question.

    Attributes:
        model_version: The model that the answer names.
        sequence: The sequence that it names.
        items: Its items and scores, best first.
        query: The question; its `allowed` is not used.
        request: The question's filter.
        catalogue_revision: The revision that the answer names, if any.
        evaluated_at: The time that it names, in Unix seconds, if any.
    """

    model_version: str
    sequence: int
    items: Sequence[tuple[str, float]]
    query: TopK
    request: FilterRequest | None
    catalogue_revision: str | None
    evaluated_at: float | None


class AnswerAudit(NamedTuple):
    """Comparison of an answer with a new computation.

    Attributes:
        outcome: Unknown, if an input of the answer is gone.
        reason: Which input is gone.
        changed_items: Number of the model's items that have changed since the revision. What they were then is not
            known; those in the answer count as allowed.
        forbidden: Items of the answer that were not allowed, or that the model does not know.
        missing: Items that belong into the answer and are not there. A search index may miss one, so of such a model
            they refute nothing.
        max_relative_error: Largest difference of a score, relative to the largest score.
    """

    outcome: Literal["confirmed", "refuted", "unknown"]
    reason: str | None = None
    changed_items: int = 0
    forbidden: Sequence[str] = ()
    missing: Sequence[str] = ()
    max_relative_error: float | None = None


class PastCatalogue(Protocol):
    """Part of `core.catalogue.catalogue.Catalogue` that the audit needs."""

    is_empty: bool
    positions: CopyPositions

    async def allowed_at(
        self, version: str, request: FilterRequest | None, moment: PastMoment, item_ids: Sequence[str]
    ) -> PastRows:
        """Return what was allowed at an earlier moment."""
        ...


class AnswerAuditor:
    """Recomputes answers."""

    def __init__(
        self,
        store: BatchedStore,
        engine: BatchedEngine,
        catalogue: PastCatalogue,
        history: RevisionHistory,
        new_items: NewItems,
    ) -> None:
        self._store = store
        self._new_items = new_items
        self._engine = engine
        self._catalogue = catalogue
        self._history = history

    async def audit(
        self, engines: Sequence[Engine], user_id: str, given: GivenAnswer, deadline: float
    ) -> AnswerAudit:
        """Recompute an answer to a user.

        Args:
            engines: The models that are served.
            user_id: The user.
            given: The answer.
            deadline: When to give up.

        Raises:
            InvalidRequest: The answer contradicts itself, or the filter is refused.
        """
        try:
            revision = None if given.catalogue_revision is None else decode_revision(given.catalogue_revision)
        except RevisionFormatError as error:
            raise _refused("catalogue_revision", str(error)) from None
        if given.evaluated_at is None and (given.request is not None or given.query.exclude_events):
            raise _refused("evaluated_at", "is missing; an answer under a filter or exclude_events names it")
        engine = next((engine for engine in engines if engine.version == given.model_version), None)
        if engine is None:
            return AnswerAudit("unknown", "the model version is not served any more")
        try:
            log = await self._log(user_id, given.sequence, deadline)
            past = await self._past_rows(engine, given, revision)
        except (RevisionGoneError, EventsGoneError) as error:
            return AnswerAudit("unknown", str(error))
        return await self._compare(engine, given, UserReplay.of(engine, user_id, log), past, deadline)

    async def _log(self, user_id: str, sequence: int, deadline: float) -> LogView:
        """Return the user's log up to a sequence."""
        log = await self._store.append_and_read(AppendAndRead(user_id, None), deadline, bulk=True)
        events = tuple([event for event in log.pending if event.sequence <= sequence])
        if [event.sequence for event in events] != list(range(1, sequence + 1)):
            raise EventsGoneError("events up to the sequence were removed, merged or lost since")
        return replace(log, pending=events)

    async def _past_rows(self, engine: Engine, given: GivenAnswer, revision: Revision | None) -> PastRows | None:
        """Return what the answer's revision allowed; None if that is everything."""
        catalogue = self._catalogue
        if revision is None and given.request is None and catalogue.is_empty:
            return None
        now = 0 if given.evaluated_at is None else round(given.evaluated_at * MICROSECONDS)
        revision = revision or Revision([(0, b"")] * len(catalogue.positions.all))
        shown = [item_id for item_id, _ in given.items]
        found = await catalogue.allowed_at(engine.version, given.request, PastMoment(revision, now), shown)
        held = catalogue.positions.all  # of the same moment
        if catalogue.positions.catching_up:
            raise RevisionGoneError("the worker is applying many changes; ask again in a second")
        if given.request is not None and not revision.is_at(len(held) - 1, held[-1]):
            raise RevisionGoneError("attributes or filters were declared or changed since the revision")
        await self._history.check(revision, held)
        return found

    async def _compare(
        self, engine: Engine, given: GivenAnswer, replay: UserReplay, past: PastRows | None, deadline: float
    ) -> AnswerAudit:
        shown, query = tuple([item_id for item_id, _ in given.items]), given.query
        if query.exclude_events:
            items = items_with_events(replay.view.pending, query.exclude_events, given.evaluated_at or 0.0)
            query = query._replace(exclude=(*query.exclude, *items))
        history = [event.item_id for event in replay.events] if query.exclude_seen else ()
        left_out = {*query.exclude, *(replay.excluded or ()), *history}
        forbidden = [item for item in shown if item in left_out or not engine.knows(item)]
        allowed, changed_items = None, 0
        if past is not None:
            hidden = [not row or not (past.allowed[row] or past.changed[row]) for row in past.rows]
            forbidden += [item for item, is_hidden in zip(shown, hidden, strict=True) if is_hidden]
            mask = past.allowed & ~past.changed
            mask[[row for row in past.rows if row and past.changed[row]]] = True
            allowed, changed_items = AllowedRows.of(mask), int(np.count_nonzero(past.changed))
        best = await self._engine.run(engine, replay.request(query._replace(allowed=allowed)), deadline)
        ranking = EngineRequest(best.state, (), RankCandidates(shown))
        ranked = [] if best.cold else (await self._engine.run(engine, ranking, deadline)).items
        difference = _difference(given, best.items, ranked)
        # An answer does not say which new items had their vectors: what depends on them is not decided.
        held = self._new_items.held(engine)
        new: Container[str] = () if held is None else held.numbers
        missing = tuple([item_id for item_id in _missing(given, best.items) if item_id not in new])
        is_complete = "retrieval_recall@10" in engine.describe()["metrics"] or not missing
        is_refuted = forbidden or not is_complete or difference > TOLERANCE or len(set(shown)) < len(shown)
        if is_refuted and not forbidden and any(event.item_id in new for event in replay.events):
            return AnswerAudit("unknown", "items of the user's events may have got their vectors since")
        return AnswerAudit(
            "refuted" if is_refuted else "confirmed",
            None,
            changed_items,
            tuple(dict.fromkeys(forbidden)),
            missing,
            difference,
        )


class EventsGoneError(Exception):
    """Events that the answer reflects are not in the log any more."""


def _difference(given: GivenAnswer, best: Sequence[ScoredItem], ranked: Sequence[ScoredItem]) -> float:
    """Return the largest relative difference of a score, or of the order."""
    scores = {item.item_id: item.score for item in (*ranked, *best) if item.score is not None}
    largest = max(map(abs, scores.values()), default=0.0) or 1.0
    stated = [score for _, score in given.items]
    wrong = [abs(score - scores[item_id]) for item_id, score in given.items if item_id in scores]
    wrong += [after - before for before, after in pairwise(stated)]
    return max(0.0, *wrong) / largest if wrong else 0.0


def _missing(given: GivenAnswer, best: Sequence[ScoredItem]) -> tuple[str, ...]:
    """Return items that belong into the answer and are not there."""
    shown = {item_id for item_id, _ in given.items}
    bound = -np.inf
    if len(shown) >= given.query.k and given.items:
        last = given.items[-1][1]
        bound = last + TOLERANCE * max(abs(score) for _, score in given.items)
    return tuple(
        item.item_id for item in best if item.item_id not in shown and (item.score is None or item.score > bound)
    )


def _refused(field: str, problem: str) -> InvalidRequest:
    return InvalidRequest(f"{field} {problem}", details=[{"field": f"answer.{field}", "problem": problem}])
