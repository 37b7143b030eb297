"""Random operations on a store and on its model, side by side."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from service.core.events import MemoPut, NewEvent, Snapshot, Visit
from service.core.ports import Store
from tests.store.backends import Backend
from tests.store.calls import visit_all
from tests.store.model import ModelStore

KEEP = 4

_users = st.sampled_from(["ann", "{b}:%", "ć"])
_versions = st.sampled_from(["1", "2", "3"])
_event_ids = st.sampled_from(["x", "y", "z"])
_events = st.builds(
    NewEvent.create,
    st.sampled_from(["i", "j"]),
    st.sampled_from([0.1, 2.0]),
    st.none() | _event_ids,
    st.just(0.0),
)
_visits = st.tuples(
    st.just("visit"),
    st.lists(
        st.builds(Visit, _users, st.none() | _versions, st.lists(_events, max_size=6).map(tuple)),
        min_size=1,
        max_size=4,
    ),
)
# The cursor is counted from the user's newest sequence and the generation from its newest: most puts almost fit.
_puts = st.tuples(
    st.just("put"),
    _users,
    _versions,
    st.integers(-5, 1),
    st.sampled_from([0, 0, 0, 1]),
    st.binary(max_size=3),
    st.booleans(),
)
_histories = st.tuples(st.just("history"), _users, st.none() | st.integers(0, 20), st.integers(1, 6))
_named = _event_ids | st.integers(0, 20).map(lambda n: f"seq-{n}")
_event_deletions = st.tuples(st.just("delete_event"), _users, _named)
_user_deletions = st.tuples(st.just("delete_user"), _users)
_operation = st.one_of(_visits, _visits, _visits, _puts, _puts, _histories, _event_deletions, _user_deletions)


@dataclass
class _Pair:
    """A store and its model, and which of their generations stand for each other."""

    store: Store
    prefix: str
    model: ModelStore = field(default_factory=lambda: ModelStore(KEEP))
    real: dict[str, str] = field(default_factory=lambda: {"": ""})
    seen: dict[str, list[Snapshot]] = field(default_factory=dict)

    async def run(self, operation: tuple[Any, ...]) -> None:
        await getattr(self, operation[0])(*operation[1:])

    async def visit(self, visits: list[Visit]) -> None:
        visits = [replace(visit, user_id=self.prefix + visit.user_id) for visit in visits]
        expected = self.model.visit(visits)
        for visit, want, got in zip(visits, expected, await visit_all(self.store, visits), strict=True):
            self.seen.setdefault(visit.user_id, []).append(want)
            # A new name must stand for a new token, an old one for the same as ever.
            if want.generation not in self.real:
                assert got.generation not in self.real.values()
                self.real[want.generation] = got.generation
            assert got == replace(want, generation=self.real[want.generation])

    async def put(self, user: str, version: str, back: int, older: int, blob: bytes, repair: bool) -> None:
        user_id = self.prefix + user
        seen = self.seen.get(user_id)
        if not seen:
            return
        generations = list(dict.fromkeys(snapshot.generation for snapshot in reversed(seen)))
        name = generations[min(older, len(generations) - 1)]
        wanted = MemoPut(user_id, name, version, max(0, seen[-1].sequence + back), blob, repair)
        got = await self.store.put_memos([replace(wanted, generation=self.real[name])])
        assert got == self.model.put_memos([wanted])

    async def history(self, user: str, before: int | None, limit: int) -> None:
        user_id = self.prefix + user
        assert await self.store.history(user_id, before, limit) == self.model.history(user_id, before, limit)

    async def delete_event(self, user: str, event_id: str) -> None:
        user_id = self.prefix + user
        assert await self.store.delete_event(user_id, event_id) == self.model.delete_event(user_id, event_id)

    async def delete_user(self, user: str) -> None:
        user_id = self.prefix + user
        assert await self.store.delete_user(user_id) == self.model.delete_user(user_id)


def compare_with_model(backend: Backend, examples: int) -> None:
    """Fail where the store and the model part; `backend` is left with the data of the examples."""
    with asyncio.Runner() as runner:
        store = runner.run(backend.open(keep=KEEP))
        number = 0

        @settings(
            max_examples=examples,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(st.lists(_operation, min_size=10, max_size=30))
        def agree(operations: list[tuple[Any, ...]]) -> None:
            nonlocal number
            number += 1
            pair = _Pair(store, f"{number}-")

            async def work() -> None:
                for operation in operations:
                    await pair.run(operation)
                users = ["ann", "{b}:%", "ć"]
                await pair.visit([Visit(user, version) for user in users for version in (None, "1", "2", "3")])

            runner.run(work())

        try:
            agree()
            backend.check()
        finally:
            runner.run(store.close())
