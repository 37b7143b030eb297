"""Audits of one worker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from service.core.catalogue.revision_history import RevisionHistory
from service.core.ports import Meter, Models
from service.core.recommending.audit.answer_audit import AnswerAudit, AnswerAuditor, GivenAnswer, PastCatalogue
from service.core.recommending.audit.snapshot_audit import Audit, audit
from service.core.recommending.batching import BatchedEngine, BatchedStore
from service.core.recommending.log_replay.snapshots import NewItems


@dataclass(frozen=True, slots=True)
class Audits:
    """Compares snapshots and answers with new replays.

    Attributes:
        store: The event log.
        engine: Runs the replays.
        models: The models that are served.
        meter: Counts damaged snapshots.
        deadline: Returns when to give up.
        new_items: Vectors of new items.
    """

    store: BatchedStore
    engine: BatchedEngine
    models: Models
    meter: Meter
    deadline: Callable[[], float]
    new_items: NewItems

    async def snapshot(self, user_id: str) -> Audit:
        """Compare the user's snapshot with a replay of the log; raises `UserNotFound`."""
        engine, deadline = self.models.for_user(user_id), self.deadline()
        return await audit(engine, user_id, self.meter, self.store, self.engine, self.new_items, deadline)

    async def answer(
        self, user_id: str, given: GivenAnswer, catalogue: PastCatalogue, history: RevisionHistory
    ) -> AnswerAudit:
        """Compare an answer to the user with a new computation; raises `InvalidRequest`."""
        auditor = AnswerAuditor(self.store, self.engine, catalogue, history, self.new_items)
        return await auditor.audit(self.models.served, user_id, given, self.deadline())
