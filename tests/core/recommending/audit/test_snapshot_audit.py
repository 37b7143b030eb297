"""Audit of a snapshot against the log."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from service.core.errors import EventNotFound, StoreUnavailable, UserNotFound
from service.core.events import AppendAndRead, LogView
from tests.core.memory_store import MemoryStore
from tests.core.recommending.recommender_harness import TOP_3, RecommenderHarness, build, event, run


def test_audit_reports_found_absent_and_damaged_snapshots() -> None:
    async def scenario(harness: RecommenderHarness) -> None:
        with pytest.raises(UserNotFound):
            await harness.recommender.audits.snapshot("u")
        await harness.recommender.record("u", event("10", "e"), TOP_3)
        assert (await harness.recommender.audits.snapshot("u")).snapshot == "absent"
        await harness.recommender.close()
        found = await harness.recommender.audits.snapshot("u")
        assert (found.snapshot, found.max_relative_error, found.exact, found.kept) == ("found", 0.0, True, 1)
        harness.store.damage("u", "v1", b"?")
        assert (await harness.recommender.audits.snapshot("u")).max_relative_error is None
        await harness.recommender.delete_event("u", "e")
        with pytest.raises(EventNotFound):
            await harness.recommender.delete_event("u", "e")

    run(scenario)


def test_log_edited_between_the_two_reads_counts_as_without_snapshot() -> None:
    class EditedBetweenReads(MemoryStore):
        async def append_and_read(self, requests: Sequence[AppendAndRead]) -> list[LogView | StoreUnavailable]:
            views = await super().append_and_read(requests)
            if requests[0].model_version is not None and not requests[0].events and "u" in self.logs:
                await self.delete_event("u", "e")
            return views

    async def scenario() -> None:
        harness = build(EditedBetweenReads())
        await harness.recommender.record("u", event("10", "e"), None)
        await harness.recommender.record("u", event("11", "f"), None)
        await harness.recommender.close()
        assert (await harness.recommender.audits.snapshot("u")).snapshot == "absent"

    asyncio.run(scenario())
