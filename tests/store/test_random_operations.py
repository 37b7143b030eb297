"""The random operations find a store that lacks a check."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import Phase

from service.core.events import AppendAndRead, History, LogView, Merged, SnapshotPut
from tests.store.mutants import (
    NoAppendComparison,
    NoDedupe,
    NoGenerationComparison,
    NoModelComparison,
    NoSequenceComparison,
)
from tests.store.random_operations import DAYS, KEEP, run_machines
from tests.store.reference_store import ReferenceStore


class InMemory:
    """The reference store behind the methods that the random operations call."""

    def __init__(self, reference: ReferenceStore) -> None:
        self._reference = reference

    async def append_and_read(self, requests: Sequence[AppendAndRead]) -> list[LogView]:
        return self._reference.append_and_read(requests)

    async def put_snapshots(self, puts: Sequence[SnapshotPut]) -> list[bool]:
        return self._reference.put_snapshots(puts)

    async def history(self, user_id: str, before: int | None, limit: int) -> History | None:
        return self._reference.history(user_id, before, limit)

    async def delete_event(self, user_id: str, event_id: str) -> bool:
        return self._reference.delete_event(user_id, event_id)

    async def delete_user(self, user_id: str) -> int:
        return self._reference.delete_user(user_id)

    async def merge(self, user_id: str, from_user_id: str) -> Merged | None:
        return self._reference.merge(user_id, from_user_id)

    async def finish_merges(self) -> int:
        return 0

    async def expire(self, user_ids: Sequence[str]) -> int:
        return self._reference.expire(user_ids)


def compare(reference: ReferenceStore) -> None:
    with asyncio.Runner() as runner:
        run_machines(runner.run, InMemory(reference), reference.make_older, 60, Phase.generate)


def test_reference_store_passes() -> None:
    compare(ReferenceStore(KEEP, DAYS))


@pytest.mark.parametrize(
    "mutant", [NoDedupe, NoAppendComparison, NoSequenceComparison, NoGenerationComparison, NoModelComparison]
)
def test_store_without_a_check_fails(mutant: type[ReferenceStore]) -> None:
    with pytest.raises(AssertionError):
        compare(mutant(KEEP, DAYS))
