"""Contract of every store: merging one user into another."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from service.core.errors import StoreUnavailable
from service.core.events import Appended, Conflict, Event, LogView, Merged
from service.core.ports import Store
from tests.store.backends import Backend
from tests.store.calls import append, new, put, read, sequences


class MergeContract:
    async def test_merged_log_is_sorted_by_timestamp(self, store: Store, backend: Backend) -> None:
        old = await append(store, "u", new("a", "x", 1.0), new("c", None, 3.0), new("e", "y", 5.0))
        await append(store, "anon", new("b", "z", 2.0), new("d", None, 4.0), new("f", None, 6.0))
        assert await store.merge("u", "anon") == Merged(3, 0, 0, 8)
        view = await read(store, "u")
        # Displaced events get new sequences, and so new ids if they have none of their own.
        assert view.pending == (
            Event(1, "a", 1.0, "x"),
            Event(4, "b", 2.0, "z"),
            Event(5, "c", 3.0, "seq-5"),
            Event(6, "d", 4.0, "seq-6"),
            Event(7, "e", 5.0, "y"),
            Event(8, "f", 6.0, "seq-8"),
        )
        assert (view.sequence, view.trimmed) == (8, 0)
        assert view.generation not in ("", old.generation)
        assert await read(store, "anon") == LogView("", 0, 0, None, ())
        assert await store.history("anon", None, 10) is None
        assert "anon" not in backend.contents()
        assert await store.delete_event("u", "seq-5")
        assert not await store.delete_event("u", "seq-2")
        assert (await append(store, "u", new("g"))).sequence == 9
        backend.check()

    async def test_equal_timestamps_put_the_users_own_events_first(self, store: Store) -> None:
        await append(store, "u", new("a"), new("b"))
        await append(store, "v", new("c"), new("d"))
        assert await store.merge("u", "v") == Merged(2, 0, 0, 4)
        assert [(e.sequence, e.item_id) for e in (await read(store, "u")).pending] == [
            *((1, "a"), (2, "b"), (3, "c"), (4, "d"))
        ]

    async def test_merge_sorts_a_log_that_was_out_of_order(self, store: Store, backend: Backend) -> None:
        await append(store, "u", new("late", None, 9.0), new("early", "x", 1.0))
        await append(store, "v", new("middle", None, 5.0))
        assert await store.merge("u", "v") == Merged(1, 0, 0, 5)
        assert [event.item_id for event in (await read(store, "u")).pending] == ["early", "middle", "late"]
        backend.check()

    async def test_event_ids_of_both_users_are_known_after_a_merge(self, store: Store, backend: Backend) -> None:
        await append(store, "u", new("a", "x", 2.0), new("b", "same", 3.0), new("c", "other", 4.0))
        await append(store, "v", new("b", "same", 3.0), new("d", "other", 0.0), new("e", "z", 1.0))
        assert await store.merge("u", "v") == Merged(1, 1, 1, 7)
        view = await append(
            store, "u", new("a", "x", 2.0), new("e", "z", 1.0), new("c", "other", 4.0), new("d", "other", 0.0)
        )
        assert view.appended == (Appended(5, True), Appended(4, True), Appended(7, True), Conflict(7))
        assert [event.item_id for event in view.pending] == ["e", "a", "b", "c"]
        backend.check()

    async def test_merge_deletes_all_snapshots(self, store: Store) -> None:
        old = await append(store, "u", new("a"), new("b"))
        gone = await append(store, "v", new("c"))
        assert await put(store, "u", 2)
        assert await put(store, "u", 1, version="other")
        assert await put(store, "v", 1)
        assert await store.merge("u", "v")
        assert (await read(store, "u")).snapshot is None
        assert (await read(store, "u", "other")).snapshot is None
        assert not await put(store, "u", 2, generation=old.generation)
        assert not await put(store, "u", 2, generation=old.generation, repair=True)
        assert not await put(store, "v", 1, generation=gone.generation)
        assert await put(store, "u", 3, b"new")
        assert (await read(store, "u")).snapshot == b"new"

    async def test_merge_creates_an_unknown_target(self, store: Store, backend: Backend) -> None:
        await append(store, "v", new("b", "x", 2.0), new("a", None, 1.0))
        assert await store.merge("u", "v") == Merged(2, 0, 0, 2)
        assert [(e.sequence, e.item_id) for e in (await read(store, "u")).pending] == [(1, "a"), (2, "b")]
        found, cursor = await store.users("", 100)
        while cursor:
            more, cursor = await store.users(cursor, 100)
            found += more
        assert set(found) == {"u"}
        backend.check()

    async def test_merge_of_unknown_user_returns_none_and_writes_nothing(
        self, store: Store, backend: Backend
    ) -> None:
        await append(store, "u", new("a"))
        before = backend.contents()
        assert await store.merge("u", "nobody") is None
        assert await store.merge("other", "nobody") is None
        assert backend.contents() == before

    async def test_merge_of_user_without_events_deletes_that_user(self, store: Store, backend: Backend) -> None:
        await append(store, "v", new("a"))
        assert await store.delete_event("v", "seq-1")
        assert await store.merge("u", "v") == Merged(0, 0, 0, 0)
        assert await store.history("v", None, 10) is None
        assert (await append(store, "u", new("b"))).appended == (Appended(1, False),)
        backend.check()

    async def test_repeated_merge_returns_the_first_result(self, store: Store, backend: Backend) -> None:
        await append(store, "u", new("a", "x"))
        await append(store, "v", new("b"), new("a", "x"), new("c"))
        assert await store.merge("u", "v") == Merged(2, 1, 0, 3)
        await append(store, "u", new("d"))
        before = await read(store, "u")
        for _ in range(3):
            assert await store.merge("u", "v") == Merged(2, 1, 0, 3, repeated=True)
        assert await read(store, "u") == before
        assert await store.merge("w", "v") is None
        # A new user with the old id has not been merged yet.
        await append(store, "v", new("e"))
        assert await store.merge("u", "v") == Merged(1, 0, 0, 5)
        assert await store.merge("u", "v") == Merged(1, 0, 0, 5, repeated=True)

    async def test_results_of_the_newest_32_merges_are_kept(self, store: Store, backend: Backend) -> None:
        for n in range(34):
            await append(store, f"v{n}", new("a"))
            assert await store.merge("u", f"v{n}") == Merged(1, 0, 0, n + 1)
        assert await store.merge("u", "v1") is None
        assert await store.merge("u", "v2") == Merged(1, 0, 0, 3, repeated=True)
        assert sequences((await read(store, "u")).pending) == list(range(1, 35))
        backend.check()

    async def test_removed_user_takes_its_merge_results_along(self, store: Store, backend: Backend) -> None:
        await append(store, "v", new("a", "gone-id"))
        await append(store, "gone-user", new("gone-item"))
        assert await store.merge("gone-user", "v")
        assert await store.merge("w", "gone-user") == Merged(2, 0, 0, 2)
        assert await store.merge("gone-user", "v") is None
        assert await store.delete_user("w") == 2
        assert await store.merge("w", "gone-user") is None
        assert "gone" not in backend.contents()
        backend.check()

    async def test_merge_keeps_the_newest_events_of_both(self, backend: Backend) -> None:
        store = await backend.open(keep=3)
        await append(store, "u", *(new(f"u{n}", f"u{n}", float(n)) for n in (2, 4, 6)))
        await append(store, "v", *(new(f"v{n}", f"v{n}", float(n)) for n in (3, 5)))
        assert await store.merge("u", "v") == Merged(2, 0, 0, 7)
        view = await read(store, "u")
        assert [(e.sequence, e.item_id) for e in view.pending] == [(5, "u4"), (6, "v5"), (7, "u6")]
        assert view.trimmed == 4
        assert (await append(store, "u", new("again", "u2"), new("v3", "v3"))).appended == (
            *(Appended(8, False), Appended(9, False)),
        )
        # No event is displaced, and retention removes the oldest.
        await append(store, "w", new("w", None, 1.5), new("w", None, 100.0))
        await store.delete_user("u")
        await append(store, "u", new("a"), new("b"), new("c"))
        assert await store.merge("u", "w") == Merged(2, 0, 0, 5)
        view = await read(store, "u")
        assert [(e.sequence, e.item_id) for e in view.pending] == [(3, "c"), (4, "w"), (5, "w")]
        assert view.trimmed == 2
        backend.check()
        await store.close()

    async def test_merge_counts_as_deletion_for_both_users(self, store: Store, backend: Backend) -> None:
        await append(store, "u", new("a"))
        await append(store, "v", new("b"))
        before = backend.deletions("u"), backend.deletions("v")
        assert await store.merge("u", "v")
        assert backend.deletions("u") > before[0]
        assert backend.deletions("v") > before[1]

    async def test_concurrent_appends_and_merges_keep_each_event_once(self, store: Store, backend: Backend) -> None:
        """Even if a target is itself merged meanwhile."""
        other = await backend.open()

        async def write(user: str, through: Store) -> None:
            for n in range(30):
                await append(through, user, new(f"{user}-{n}", f"{user}-{n}" if n % 2 else None, float(n)))

        async def merge(user: str, source: str, through: Store) -> None:
            for _ in range(10):
                with suppress(StoreUnavailable):  # other merges may get in the way too often
                    await through.merge(user, source)

        await asyncio.gather(
            *(write(user, store) for user in ("u", "v", "w")),
            *(merge(*users, through) for users in (("u", "v"), ("v", "w"), ("w", "u")) for through in (store, other)),
        )
        await store.finish_merges()
        found = []
        for user in ("u", "v", "w"):
            view = await read(store, user)
            found += [event.item_id for event in view.pending]
            assert sequences(view.pending) == sorted(set(sequences(view.pending)))
        assert sorted(found) == sorted(f"{user}-{n}" for user in ("u", "v", "w") for n in range(30))
        backend.check()
        await other.close()
