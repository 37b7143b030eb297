"""Contract of every store: retention by count and by age."""

from __future__ import annotations

from service.core.events import Appended, LogView
from service.core.ports import Store
from tests.store.backends import Backend
from tests.store.calls import append, new, put, read, sequences

DAY = 86_400.0


class RetentionContract:
    async def test_retention_keeps_the_newest_events(self, backend: Backend) -> None:
        store = await backend.open(keep=3)
        await append(store, "u", new("a", "id-1"), new("b"), new("c"))
        assert (await read(store, "u")).trimmed == 0
        view = await append(store, "u", new("d"), new("e"))
        assert (view.sequence, view.trimmed) == (5, 2)
        assert sequences(view.pending) == [3, 4, 5]
        # The id of a removed event is free again.
        assert (await append(store, "u", new("z", "id-1"))).appended == (Appended(6, False),)
        assert await store.delete_event("u", "id-1")
        assert not await store.delete_event("u", "seq-2")
        backend.check()
        await store.close()

    async def test_request_with_more_events_than_are_kept(self, backend: Backend) -> None:
        store = await backend.open(keep=3)
        view = await append(store, "u", *(new(f"i{n}", f"id-{n}") for n in range(10)), new("i0", "id-0"))
        # Retention runs at the end of a request, so a duplicate within it is still found.
        assert view.appended == (*(Appended(n, False) for n in range(1, 11)), Appended(1, True))
        assert (sequences(view.pending), view.trimmed) == ([8, 9, 10], 7)
        backend.check()
        await store.close()

    async def test_smaller_limit_takes_effect_at_the_next_append(self, store: Store, backend: Backend) -> None:
        await append(store, "u", *(new(f"i{n}") for n in range(30)))
        smaller = await backend.open(keep=2)
        assert len((await read(smaller, "u")).pending) == 30
        view = await append(smaller, "u", new("last"))
        assert (sequences(view.pending), view.trimmed) == ([30, 31], 29)
        backend.check()
        await smaller.close()

    async def test_deleted_events_do_not_count_for_retention(self, backend: Backend) -> None:
        store = await backend.open(keep=3)
        await append(store, "u", new("a"), new("b"), new("c"))
        assert await store.delete_event("u", "seq-2")
        view = await append(store, "u", new("d"))
        assert (sequences(view.pending), view.trimmed) == ([1, 3, 4], 0)
        view = await append(store, "u", new("e"))
        assert (sequences(view.pending), view.trimmed) == ([3, 4, 5], 1)
        await store.close()

    async def test_snapshot_older_than_trimmed_events_is_absent(self, backend: Backend) -> None:
        store = await backend.open(keep=3)
        await append(store, "u", new("a"), new("b"), new("c"))
        assert await put(store, "u", 1)
        view = await append(store, "u", new("d"))  # removes 1, which the snapshot has
        assert (view.snapshot, sequences(view.pending)) == (b"snapshot", [2, 3, 4])
        view = await append(store, "u", new("e"))  # removes 2, which the snapshot lacks
        assert (view.snapshot, sequences(view.pending)) == (None, [3, 4, 5])
        assert await put(store, "u", 5, b"rebuilt")
        view = await read(store, "u")
        assert (view.snapshot, view.pending) == (b"rebuilt", ())
        await store.close()

    async def test_expired_events_are_removed_at_the_next_append(self, backend: Backend) -> None:
        store = await backend.open(days=2)
        await append(store, "u", new("a", "x"), new("b"))
        assert await put(store, "u", 2)
        backend.make_older("u", DAY)
        await append(store, "u", new("c", None, 0.0))  # an old timestamp, but it arrived just now
        backend.make_older("u", 1.5 * DAY)
        # Neither a read nor a duplicate removes anything.
        assert sequences((await read(store, "u", None)).pending) == [1, 2, 3]
        assert (await append(store, "u", new("a", "x"))).appended == (Appended(1, True),)
        view = await append(store, "u", new("d"))
        assert (view.snapshot, sequences(view.pending), view.trimmed) == (b"snapshot", [3, 4], 2)
        assert (await append(store, "u", new("z", "x"))).appended == (Appended(5, False),)
        assert not await store.delete_event("u", "seq-2")
        backend.make_older("u", 9 * DAY)
        view = await append(store, "u", new("e"))
        assert (view.snapshot, sequences(view.pending), view.trimmed) == (None, [6], 5)
        backend.check()
        await store.close()

    async def test_limits_by_count_and_by_age_both_hold(self, backend: Backend) -> None:
        store = await backend.open(keep=3, days=1)
        for older in (0.6, 0.6, 0.0):
            await append(store, "u", new("a", "x"), new("a"), new("a"))
            backend.make_older("u", older * DAY)
        assert (await read(store, "u")).trimmed == 5
        await append(store, "u", new("b"))
        view = await read(store, "u")
        assert (sequences(view.pending), view.trimmed) == ([7, 8, 9], 6)
        backend.check()
        await store.close()

    async def test_expire_removes_expired_events_and_empty_users(self, backend: Backend) -> None:
        store = await backend.open(days=1)
        users = ["gone-user", "stays", "empty", "young", "unknown"]
        old = await append(store, "gone-user", new("gone-item", "gone-id"))
        assert await put(store, "gone-user", 1, b"gone-snapshot", version="gone-version")
        await append(store, "stays", new("gone-item", "gone-id"), new("a"))
        backend.make_older("stays", 0.5 * DAY)
        await append(store, "stays", new("b"))
        assert await put(store, "stays", 3)
        await append(store, "empty", new("a"))
        assert await store.delete_event("empty", "seq-1")
        await append(store, "young", new("a"))
        for user in ("gone-user", "stays"):
            backend.make_older(user, 0.7 * DAY)
        assert await store.expire(users) == 2
        backend.make_older("gone-user", 0.7 * DAY)
        deletions = backend.deletions("gone-user")
        assert await store.expire(users) == 1
        assert "gone" not in backend.contents()
        assert backend.deletions("gone-user") == deletions + 1
        view = await read(store, "stays")
        assert (view.snapshot, view.sequence, view.trimmed) == (b"snapshot", 3, 2)
        assert sequences((await read(store, "stays", None)).pending) == [3]
        assert await read(store, "empty") == LogView("", 0, 0, None, ())
        assert sequences((await read(store, "young", None)).pending) == [1]
        assert not await put(store, "gone-user", 1, generation=old.generation)
        assert (await append(store, "gone-user", new("c"))).sequence == 1
        assert await store.expire(users) == 0
        assert await store.expire([]) == 0
        backend.check()
        await store.close()

    async def test_expire_without_an_age_limit_changes_nothing(self, store: Store, backend: Backend) -> None:
        await append(store, "u", new("a"))
        backend.make_older("u", 100_000 * DAY)
        await append(store, "empty", new("a"))
        assert await store.delete_event("empty", "seq-1")
        before = backend.contents()
        assert await store.expire(["u", "empty"]) == 0
        assert backend.contents() == before
        await append(store, "u", new("b"))
        assert sequences((await read(store, "u")).pending) == [1, 2]

    async def test_merged_events_keep_their_arrival_time(self, backend: Backend) -> None:
        store = await backend.open(days=2)
        await append(store, "u", new("late", None, 1.0), new("last", None, 9.0))
        await append(store, "v", new("old", None, 5.0))
        backend.make_older("v", 1.5 * DAY)
        backend.make_older("u", 0.2 * DAY)
        assert await store.merge("u", "v")
        await append(store, "u", new("new"))
        assert [e.item_id for e in (await read(store, "u")).pending] == ["late", "old", "last", "new"]
        backend.make_older("u", DAY)
        # The event before it in the log is removed with it.
        assert await store.expire(["u"]) == 2
        assert [e.item_id for e in (await read(store, "u")).pending] == ["last", "new"]
        backend.check()
        await store.close()
