"""Random operations on a store, compared with the reference store."""

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
from tests.store.reference_store import ReferenceStore

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
    st.sampled_from(["", "", "cart", "dislike"]),
    st.sampled_from([None, None, 0.0, -1e12, 5e-324]),
    st.sampled_from(["", "", "r", "@\0日"]),
)
_requests = st.builds(AppendAndRead, _users, st.none() | _versions, st.lists(_events, max_size=6).map(tuple))


class StoreMachine(RuleBasedStateMachine):
    """Compares a store with the reference store after every operation.

    Each machine adds a prefix of its own to the users' ids, so that many machines can use one store in turn.
    """

    views = Bundle("views")  # results of the reference store: (user, view)

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
        self._reference = ReferenceStore(KEEP, DAYS)
        self._real = {"": ""}  # the store's generation for each of the reference's
        self._appends = {"": ""}  # the same for appends; SQLite names none

    @rule(target=views, requests=st.lists(_requests, min_size=1, max_size=4))
    def append_and_read(self, requests: list[AppendAndRead]) -> MultipleResults[tuple[str, LogView]]:
        """Includes duplicates, conflicts and more events than are kept."""
        requests = [request._replace(user_id=self._prefix + request.user_id) for request in requests]
        expected = self._reference.append_and_read(requests)
        for want, got in zip(expected, self._run(append_and_read_all(self._store, requests)), strict=True):
            # A new generation of the reference means a new one of the store, an old one the same as before.
            if want.generation not in self._real:
                assert got.generation not in self._real.values()
                self._real[want.generation] = got.generation
            assert got == replace(want, generation=self._real[want.generation])
            typed = [event.sequence for event in want.pending if event.type]
            assert not typed or 0 < got.typed_from <= typed[0]
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
        """Puts snapshots of any age: many are outdated by now."""
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
        assert got == self._reference.put_snapshots([wanted])

    @rule(user=_users, before=st.none() | st.integers(0, 20), limit=st.integers(1, 6))
    def history(self, user: str, before: int | None, limit: int) -> None:
        user_id = self._prefix + user
        got = self._run(self._store.history(user_id, before, limit))
        assert got == self._reference.history(user_id, before, limit)

    @rule(user=_users, event_id=_event_ids | st.integers(0, 20).map(lambda number: f"seq-{number}"))
    def delete_event(self, user: str, event_id: str) -> None:
        user_id = self._prefix + user
        got = self._run(self._store.delete_event(user_id, event_id))
        assert got == self._reference.delete_event(user_id, event_id)

    @rule(
        user=_users,
        other=_users,
        how=st.sampled_from(["delete", "merge", "expire", "expire"]),
        hours=st.sampled_from([5, 13, 25]),  # no sum of these is the limit itself
    )
    def remove(self, user: str, other: str, how: str, hours: int) -> None:
        """One rule for all removals, so that they are not too frequent."""
        user_id, other_id = self._prefix + user, self._prefix + other
        if how == "delete":
            assert self._run(self._store.delete_user(user_id)) == self._reference.delete_user(user_id)
        elif how == "merge" and user != other:
            assert self._run(self._store.merge(user_id, other_id)) == self._reference.merge(user_id, other_id)
            assert self._run(self._store.finish_merges()) == 0
        elif how == "expire":
            self._older(user_id, 3600.0 * hours)
            self._reference.make_older(user_id, 3600.0 * hours)
            assert self._run(self._store.expire([other_id])) == self._reference.expire([other_id])

    def teardown(self) -> None:
        """Compare all users, with the snapshots of every model version."""
        self.append_and_read([AppendAndRead(user, version) for user in USERS for version in (None, *VERSIONS)])


def compare_with_reference(backend: Backend, examples: int) -> None:
    """Fail if the store differs from the reference store."""
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
    """Run `examples` machines; `store` keeps `KEEP` events for `DAYS` days."""
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
