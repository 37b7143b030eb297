"""Contract of every store: types, values and recommendation ids of events."""

from __future__ import annotations

import pytest

from service.core.events import Appended, Conflict, Event, Merged, NewEvent
from service.core.ports import Store
from tests.store.backends import Backend
from tests.store.calls import V, append, new, put, read

DAY = 86_400.0


def typed(
    item: str,
    event_type: str = "",
    value: float | None = None,
    recommendation_id: str = "",
    *,
    event_id: str | None = None,
    timestamp: float = 1.5,
) -> NewEvent:
    return NewEvent.create(item, timestamp, event_id, 0.0, event_type, value, recommendation_id)


EVENTS = (
    typed("a", "purchase", 49.9, "r1.abc", event_id="x", timestamp=1.0),
    typed("b", timestamp=2.0),
    typed("c", "dislike", timestamp=3.0),
    typed("d", "", -1e12, event_id="y", timestamp=4.0),
    typed("e", "", None, "@odd\0id 日本語", timestamp=5.0),
    typed("f", "a" * 32, 5e-324, "r" * 512, event_id="z" * 256, timestamp=6.0),
)
LOGGED = (
    Event(1, "a", 1.0, "x", "purchase", 49.9, "r1.abc"),
    Event(2, "b", 2.0, "seq-2"),
    Event(3, "c", 3.0, "seq-3", "dislike"),
    Event(4, "d", 4.0, "y", "", -1e12),
    Event(5, "e", 5.0, "seq-5", "", None, "@odd\0id 日本語"),
    Event(6, "f", 6.0, "z" * 256, "a" * 32, 5e-324, "r" * 512),
)


class TypesContract:
    @pytest.mark.parametrize("at_once", [True, False])
    async def test_events_are_read_as_they_were_appended(self, store: Store, backend: Backend, at_once: bool) -> None:
        if at_once:
            view = await append(store, "u", *EVENTS)
        else:
            for event in EVENTS:
                view = await append(store, "u", event)
        assert view.pending == LOGGED
        assert (await read(store, "u", None)).pending == LOGGED
        history = await store.history("u", None, 10)
        assert history is not None and history.events == LOGGED
        assert await put(store, "u", 3)
        assert (await read(store, "u")).pending == LOGGED[3:]
        backend.check()

    async def test_retry_is_a_duplicate_and_other_extras_conflict(self, store: Store) -> None:
        await append(store, "u", typed("a", "cart", 2.0, "r", event_id="x"), typed("b", event_id="y"))
        again = await append(store, "u", typed("a", "cart", 2.0, "r", event_id="x"), new("b", "y"))
        assert again.appended == (Appended(1, True), Appended(2, True))
        for other in (("", 2.0, "r"), ("cart", None, "r"), ("cart", 2.5, "r"), ("cart", 2.0, "")):
            assert (await append(store, "u", typed("a", *other, event_id="x"))).appended == (Conflict(1),)
        assert (await append(store, "u", typed("b", "cart", event_id="y"))).appended == (Conflict(2),)

    async def test_sequence_of_the_first_typed_event_is_known(self, store: Store) -> None:
        assert (await append(store, "u", new("a"), typed("b", "", 1.0, "r"))).typed_from == 0
        assert (await append(store, "u", new("c"), typed("d", "cart"), typed("e", "cart"))).typed_from == 4
        assert (await append(store, "u", new("f"))).typed_from == 4
        assert (await append(store, "u", typed("g", "dislike"))).typed_from == 4
        assert (await read(store, "u")).typed_from == 4
        assert (await read(store, "v")).typed_from == 0

    async def test_event_can_be_undone(self, store: Store, backend: Backend) -> None:
        await append(store, "u", *EVENTS)
        for event_id in ("x", "seq-3", "z" * 256):
            assert await store.delete_event("u", event_id)
        assert (await read(store, "u")).pending == (LOGGED[1], LOGGED[3], LOGGED[4])
        assert (await append(store, "u", EVENTS[0])).appended == (Appended(7, False),)
        backend.check()

    async def test_retention_removes_events_by_number_and_age(self, backend: Backend) -> None:
        store = await backend.open(keep=3, days=1)
        view = await append(store, "u", *EVENTS)
        assert view.pending == LOGGED[3:]
        backend.make_older("u", DAY / 2)
        await append(store, "u", typed("g", "cart", event_id="x"))
        backend.make_older("u", DAY * 0.6)
        assert await store.expire(["u"]) == 2
        assert (await read(store, "u")).pending == (Event(7, "g", 1.5, "x", "cart"),)
        backend.check()
        backend.make_older("u", DAY)
        assert await store.expire(["u"]) == 1
        assert await store.history("u", None, 10) is None
        backend.check()
        await store.close()

    async def test_user_is_deleted(self, store: Store, backend: Backend) -> None:
        await append(store, "u", *EVENTS)
        assert await store.delete_user("u") == len(EVENTS)
        assert (await read(store, "u")).typed_from == 0
        backend.check()

    async def test_merge_keeps_what_events_of_both_users_mean(self, store: Store, backend: Backend) -> None:
        await append(store, "u", *EVENTS[::2])
        await append(store, "v", *EVENTS[1::2], typed("a", "purchase", 49.9, "r1.abc", event_id="x", timestamp=1.0))
        await append(store, "v", typed("g", "cart", event_id="g", timestamp=7.0))
        assert await store.merge("u", "v") == Merged(4, 1, 0, 9)
        view = await read(store, "u")
        assert [event[1:3] + event[4:] for event in view.pending] == [
            *(event[1:3] + event[4:] for event in LOGGED),
            ("g", 7.0, "cart", None, ""),
        ]
        assert view.typed_from == 1
        retried = await append(store, "u", *[event for event in EVENTS if event.event_id])
        assert all(isinstance(outcome, Appended) and outcome.duplicate for outcome in retried.appended)
        backend.check()

    async def test_merged_log_knows_its_first_typed_event(self, store: Store) -> None:
        await append(store, "u", new("a", None, 1.0), new("c", None, 3.0))
        await append(store, "v", typed("b", "cart", timestamp=2.0))
        assert await store.merge("u", "v") == Merged(1, 0, 0, 4)
        assert (await read(store, "u", V)).typed_from == 3
        await append(store, "w", new("z", None, 9.0))
        await append(store, "x", new("y", None, 8.0))
        assert await store.merge("w", "x")
        assert (await read(store, "w")).typed_from == 0
