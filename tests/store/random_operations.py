"""A state machine over the store's contract: random operations on a store and on its model, side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import count
from typing import TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    multiple,
    rule,
    run_state_machine_as_test,
)

from service.core.events import AppendAndRead, LogView, NewEvent, SnapshotPut
from service.core.ports import Store
from tests.store.backends import Backend
from tests.store.calls import append_and_read_all
from tests.store.model import ModelStore

KEEP = 4
DAYS = 1
USERS = ("ann", "{b}:%", "ć")
VERSIONS = ("1", "2", "3")

Result = TypeVar("Result")

_users = st.sampled_from(USERS)
_versions = st.sampled_from(VERSIONS)
_event_ids = st.sampled_from(["x", "y", "z"])
_events = st.builds(
    NewEvent.create,
    st.sampled_from(["i", "j"]),
    st.sampled_from([0.1, 2.0]),
    st.none() | _event_ids,
    st.just(0.0),
)
_visits = st.builds(AppendAndRead, _users, st.none() | _versions, st.lists(_events, max_size=6).map(tuple))


class StoreMachine(RuleBasedStateMachine):
    """Users are named anew for each machine, so that many can follow each other on one store."""

    views = Bundle("snapshots")  # what visits have brought back, from the model: (user, snapshot)

    def __init__(
        self,
        run: Callable[[Awaitable[Result]], Result],
        store: Store,
        make_older: Callable[[str, float], None],
        prefix: str,
    ) -> None:
        super().__init__()
        self._older = make_older
        self._run = run
        self._store = store
        self._prefix = prefix
        self._model = ModelStore(KEEP, DAYS)
        self._real = {"": ""}  # which of the store's generations stands for which of the model's
        self._appends = {"": ""}  # the same of appends; a store that is in one place only names none

    @rule(target=views, requests=st.lists(_visits, min_size=1, max_size=4))
    def append_and_read(self, requests: list[AppendAndRead]) -> MultipleResults[tuple[str, LogView]]:
        """Also with events that are duplicates or conflicts, and with more than are kept."""
        requests = [request._replace(user_id=self._prefix + request.user_id) for request in requests]
        expected = self._model.append_and_read(requests)
        for want, got in zip(expected, self._run(append_and_read_all(self._store, requests)), strict=True):
            # A new name must stand for a new token, an old one for the same as ever.
            if want.generation not in self._real:
                assert got.generation not in self._real.values()
                self._real[want.generation] = got.generation
            assert got == replace(want, generation=self._real[want.generation])
            if got.newest:
                assert self._appends.setdefault(want.newest, got.newest) == got.newest
        return multiple(*((request.user_id, view) for request, view in zip(requests, expected, strict=True)))

    @rule(
        seen=views,
        version=_versions,
        beyond=st.sampled_from([0, 0, 0, -2, -1, 1]),
        blob=st.binary(max_size=3),
        repair=st.booleans(),
    )
    def put_snapshot(self, seen: tuple[str, LogView], version: str, beyond: int, blob: bytes, repair: bool) -> None:
        """For any snapshot, however old: many are of another generation by now, or shorter than what is stored."""
        user_id, view = seen
        applied = max(0, view.sequence + beyond)
        newest = self._appends.get(view.newest, "")
        got = self._run(
            self._store.put_snapshots(
                [SnapshotPut(user_id, self._real[view.generation], version, applied, blob, repair, newest)]
            )
        )
        known = view.newest if newest else ""
        wanted = SnapshotPut(user_id, view.generation, version, applied, blob, repair, known)
        assert got == self._model.put_snapshots([wanted])

    @rule(user=_users, before=st.none() | st.integers(0, 20), limit=st.integers(1, 6))
    def history(self, user: str, before: int | None, limit: int) -> None:
        user_id = self._prefix + user
        got = self._run(self._store.history(user_id, before, limit))
        assert got == self._model.history(user_id, before, limit)

    @rule(user=_users, event_id=_event_ids | st.integers(0, 20).map(lambda number: f"seq-{number}"))
    def delete_event(self, user: str, event_id: str) -> None:
        user_id = self._prefix + user
        got = self._run(self._store.delete_event(user_id, event_id))
        assert got == self._model.delete_event(user_id, event_id)

    @rule(
        user=_users,
        other=_users,
        how=st.sampled_from(["delete", "merge", "expire", "expire"]),
        hours=st.sampled_from([5, 13, 25]),  # no sum of these is the limit itself
    )
    def remove(self, user: str, other: str, how: str, hours: int) -> None:
        """One rule for all that ends a user: as one each they would crowd out the others."""
        user_id, other_id = self._prefix + user, self._prefix + other
        if how == "delete":
            assert self._run(self._store.delete_user(user_id)) == self._model.delete_user(user_id)
        elif how == "merge" and user != other:
            assert self._run(self._store.merge(user_id, other_id)) == self._model.merge(user_id, other_id)
            assert self._run(self._store.finish_merges()) == 0
        elif how == "expire":
            self._older(user_id, 3600.0 * hours)
            self._model.make_older(user_id, 3600.0 * hours)
            assert self._run(self._store.expire([other_id])) == self._model.expire([other_id])

    def teardown(self) -> None:
        """At the end everything is looked at, the memos of every model version too."""
        self.append_and_read([AppendAndRead(user, version) for user in USERS for version in (None, *VERSIONS)])


def compare_with_model(backend: Backend, examples: int) -> None:
    """Fail where the store and the model part; `backend` is left with the data of the examples."""
    with asyncio.Runner() as runner:
        store = runner.run(backend.open(KEEP, DAYS))
        try:
            run_machines(runner.run, store, backend.make_older, examples, Phase.generate, Phase.shrink)
            backend.check()
        finally:
            runner.run(store.close())


def run_machines(
    run: Callable[[Awaitable[Result]], Result],
    store: Store,
    make_older: Callable[[str, float], None],
    examples: int,
    *phases: Phase,
) -> None:
    """So many machines one after the other, in these phases of Hypothesis; `store` keeps `KEEP` events for `DAYS`."""
    numbers = count()
    run_state_machine_as_test(
        lambda: StoreMachine(run, store, make_older, f"{next(numbers)}-"),
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            database=None,
            phases=phases,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
