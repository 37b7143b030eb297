"""The state machine agrees with the model itself and parts from one that lacks a check: it can fail."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import Phase

from service.core.events import AppendAndRead, History, LogView, Merged, SnapshotPut
from tests.store.model import ModelStore
from tests.store.mutants import (
    NoAppendComparison,
    NoDedupe,
    NoGenerationComparison,
    NoModelComparison,
    NoSequenceComparison,
)
from tests.store.random_operations import DAYS, KEEP, run_machines


class InMemory:
    """A model behind the store's contract, as far as the machine goes."""

    def __init__(self, model: ModelStore) -> None:
        self._model = model

    async def append_and_read(self, requests: Sequence[AppendAndRead]) -> list[LogView]:
        return self._model.append_and_read(requests)

    async def put_snapshots(self, puts: Sequence[SnapshotPut]) -> list[bool]:
        return self._model.put_snapshots(puts)

    async def history(self, user_id: str, before: int | None, limit: int) -> History | None:
        return self._model.history(user_id, before, limit)

    async def delete_event(self, user_id: str, event_id: str) -> bool:
        return self._model.delete_event(user_id, event_id)

    async def delete_user(self, user_id: str) -> int:
        return self._model.delete_user(user_id)

    async def merge(self, user_id: str, from_user_id: str) -> Merged | None:
        return self._model.merge(user_id, from_user_id)

    async def finish_merges(self) -> int:
        return 0

    async def expire(self, user_ids: Sequence[str]) -> int:
        return self._model.expire(user_ids)


def agree(model: ModelStore) -> None:
    with asyncio.Runner() as runner:
        run_machines(runner.run, InMemory(model), model.make_older, 60, Phase.generate)


def test_the_model_agrees_with_itself() -> None:
    agree(ModelStore(KEEP, DAYS))


@pytest.mark.parametrize(
    "mutant", [NoDedupe, NoAppendComparison, NoSequenceComparison, NoGenerationComparison, NoModelComparison]
)
def test_a_store_that_lacks_a_check_is_found(mutant: type[ModelStore]) -> None:
    with pytest.raises(AssertionError):
        agree(mutant(KEEP, DAYS))
