"""What every store must do when events go: by retention, one by one, or with their user."""

from __future__ import annotations

from service.core.events import Appended, LogView
from service.core.ports import Store
from tests.store.backends import Backend
from tests.store.calls import append, new, put, read, sequences

DAY = 86_400.0


class RemovalContract:
    async def test_retention_keeps_the_newest(self, backend: Backend) -> None:
        store = await backend.open(keep=3)
        await append(store, "u", new("a", "id-1"), new("b"), new("c"))
        assert (await read(store, "u")).trimmed == 0
        view = await append(store, "u", new("d"), new("e"))
        assert (view.sequence, view.trimmed) == (5, 2)
        assert sequences(view.pending) == [3, 4, 5]
        # The id of a removed event is forgotten with it, and names a new event from now on.
        assert (await append(store, "u", new("z", "id-1"))).appended == (Appended(6, False),)
        assert await store.delete_event("u", "id-1")
        assert not await store.delete_event("u", "seq-2")
        backend.check()
        await store.close()

    async def test_a_visit_larger_than_what_is_kept(self, backend: Backend) -> None:
        store = await backend.open(keep=3)
        view = await append(store, "u", *(new(f"i{n}", f"id-{n}") for n in range(10)), new("i0", "id-0"))
        # What a visit brings is trimmed at its end, so a repetition within it is still seen.
        assert view.appended == (*(Appended(n, False) for n in range(1, 11)), Appended(1, True))
        assert (sequences(view.pending), view.trimmed) == ([8, 9, 10], 7)
        backend.check()
        await store.close()

    async def test_a_smaller_limit_takes_effect_at_the_next_append(self, store: Store, backend: Backend) -> None:
        await append(store, "u", *(new(f"i{n}") for n in range(30)))
        smaller = await backend.open(keep=2)
        assert len((await read(smaller, "u")).pending) == 30
        view = await append(smaller, "u", new("last"))
        assert (sequences(view.pending), view.trimmed) == ([30, 31], 29)
        backend.check()
        await smaller.close()

    async def test_deleted_events_leave_room_before_retention(self, backend: Backend) -> None:
        store = await backend.open(keep=3)
        await append(store, "u", new("a"), new("b"), new("c"))
        assert await store.delete_event("u", "seq-2")
        view = await append(store, "u", new("d"))
        assert (sequences(view.pending), view.trimmed) == ([1, 3, 4], 0)
        view = await append(store, "u", new("e"))
        assert (sequences(view.pending), view.trimmed) == ([3, 4, 5], 1)
        await store.close()

    async def test_a_memo_that_retention_overtook_is_absent(self, backend: Backend) -> None:
        store = await backend.open(keep=3)
        await append(store, "u", new("a"), new("b"), new("c"))
        assert await put(store, "u", 1)
        view = await append(store, "u", new("d"))  # removes 1: nothing is missing yet
        assert (view.snapshot, sequences(view.pending)) == (b"memo", [2, 3, 4])
        view = await append(store, "u", new("e"))  # removes 2, which the memo lacks
        assert (view.snapshot, sequences(view.pending)) == (None, [3, 4, 5])
        assert await put(store, "u", 5, b"rebuilt")
        view = await read(store, "u")
        assert (view.snapshot, view.pending) == (b"rebuilt", ())
        await store.close()

    async def test_deleting_an_event_by_its_own_id(self, store: Store, backend: Backend) -> None:
        first = await append(store, "u", new("a", "x"), new("b", "y"), new("c"))
        assert await put(store, "u", 3)
        assert await put(store, "u", 3, version="other")
        assert await store.delete_event("u", "y")
        view = await read(store, "u")
        assert view.generation not in ("", first.generation)
        assert (view.snapshot, sequences(view.pending), view.sequence) == (None, [1, 3], 3)
        assert (await read(store, "u", "other")).snapshot is None
        assert not await store.delete_event("u", "y")
        assert not await put(store, "u", 3, generation=first.generation)
        # The id is free again, the sequence is not.
        assert (await append(store, "u", new("z", "y"))).appended == (Appended(4, False),)
        backend.check()

    async def test_deleting_an_event_by_its_sequence(self, store: Store, backend: Backend) -> None:
        await append(store, "u", new("a", "x"), new("b"), new("c"))
        assert not await store.delete_event("u", "seq-1")  # has an id of its own
        for absent in ("seq-0", "seq-4", "seq-99999999999999999999", "seq-", "seq-2x", "nothing"):
            assert not await store.delete_event("u", absent)
        assert await store.delete_event("u", "seq-2")
        assert not await store.delete_event("u", "seq-2")
        assert sequences((await read(store, "u")).pending) == [1, 3]
        backend.check()

    async def test_deleting_the_only_event(self, store: Store) -> None:
        await append(store, "u", new("a"))
        assert await store.delete_event("u", "seq-1")
        view = await read(store, "u")
        assert (view.sequence, view.pending) == (1, ())
        assert (await append(store, "u", new("b"))).appended == (Appended(2, False),)

    async def test_pending_after_a_memo_steps_over_gaps(self, store: Store) -> None:
        await append(store, "u", *(new(f"i{n}") for n in range(1, 9)))
        for sequence in (2, 4, 5, 7):
            assert await store.delete_event("u", f"seq-{sequence}")
        for applied, pending in ((1, [3, 6, 8]), (2, [3, 6, 8]), (3, [6, 8]), (5, [6, 8]), (7, [8]), (8, [])):
            assert await put(store, "u", applied, str(applied).encode())
            view = await read(store, "u")
            assert (view.snapshot, sequences(view.pending)) == (str(applied).encode(), pending)

    async def test_deleting_a_user_leaves_nothing(self, store: Store, backend: Backend) -> None:
        await append(store, "gone-user", new("gone-item", "gone-id"), new("gone-item"), new("a", "gone-id-2"))
        await append(store, "other", new("a", "x"))
        assert await put(store, "gone-user", 2, b"gone-memo", version="gone-version")
        assert "gone" in backend.contents()
        assert await store.delete_event("gone-user", "gone-id-2")
        assert await put(store, "gone-user", 2, b"gone-memo", version="gone-version")
        assert await store.delete_user("gone-user") == 2
        assert "gone" not in backend.contents()
        assert await read(store, "gone-user") == LogView("", 0, 0, None, ())
        assert sequences((await read(store, "other")).pending) == [1]
        backend.check()

    async def test_deletions_are_counted_and_nothing_else_is(self, backend: Backend) -> None:
        """An export reads the log again when the count has changed, so that what was deleted leaves it too."""
        store = await backend.open(keep=2)
        await append(store, "u", new("a", "x"), new("b"), new("c", "y"))  # retention removes the first
        assert await put(store, "u", 3)
        assert not await store.delete_event("u", "x")
        assert await store.delete_user("nobody") == 0
        assert backend.deletions("u") == 0
        assert await store.delete_event("u", "y")
        assert await store.delete_event("u", "seq-2")
        assert backend.deletions("u") == 2
        # Nothing is left in the log, but an export may still hold what retention removed.
        assert await store.delete_user("u") == 0
        assert backend.deletions("u") == 3
        assert await store.delete_user("u") == 0
        assert backend.deletions("u") == 3
        await store.close()

    async def test_a_user_begun_anew_takes_no_memo_of_the_old(self, store: Store) -> None:
        old = await append(store, "u", new("a", "x"), new("b"))
        assert await store.delete_user("u") == 2
        assert not await put(store, "u", 1, generation=old.generation)
        fresh = await append(store, "u", new("c", "x"), new("d"))
        assert fresh.appended == (Appended(1, False), Appended(2, False))
        assert fresh.generation not in ("", old.generation)
        assert not await put(store, "u", 2, generation=old.generation)
        assert not await put(store, "u", 2, generation=old.generation, repair=True)
        assert (await read(store, "u")).snapshot is None

    async def test_what_is_too_old_goes_with_the_next_append(self, backend: Backend) -> None:
        store = await backend.open(days=2)
        await append(store, "u", new("a", "x"), new("b"))
        assert await put(store, "u", 2)
        backend.make_older("u", DAY)
        await append(store, "u", new("c", None, 0.0))  # long ago, says the client; it came just now
        backend.make_older("u", 1.5 * DAY)
        # A read removes nothing, and a duplicate appends nothing.
        assert sequences((await read(store, "u", None)).pending) == [1, 2, 3]
        assert (await append(store, "u", new("a", "x"))).appended == (Appended(1, True),)
        view = await append(store, "u", new("d"))
        assert (view.snapshot, sequences(view.pending), view.trimmed) == (b"memo", [3, 4], 2)
        assert (await append(store, "u", new("z", "x"))).appended == (Appended(5, False),)
        assert not await store.delete_event("u", "seq-2")
        backend.make_older("u", 9 * DAY)
        view = await append(store, "u", new("e"))
        assert (view.snapshot, sequences(view.pending), view.trimmed) == (None, [6], 5)
        backend.check()
        await store.close()

    async def test_both_limits_hold(self, backend: Backend) -> None:
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

    async def test_what_is_too_old_goes_when_nobody_comes(self, backend: Backend) -> None:
        store = await backend.open(days=1)
        users = ["gone-user", "stays", "empty", "young", "unknown"]
        old = await append(store, "gone-user", new("gone-item", "gone-id"))
        assert await put(store, "gone-user", 1, b"gone-memo", version="gone-version")
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
        assert (view.snapshot, view.sequence, view.trimmed) == (b"memo", 3, 2)
        assert sequences((await read(store, "stays", None)).pending) == [3]
        assert await read(store, "empty") == LogView("", 0, 0, None, ())
        assert sequences((await read(store, "young", None)).pending) == [1]
        assert not await put(store, "gone-user", 1, generation=old.generation)
        assert (await append(store, "gone-user", new("c"))).sequence == 1
        assert await store.expire(users) == 0
        assert await store.expire([]) == 0
        backend.check()
        await store.close()

    async def test_without_a_limit_of_age_nothing_is_too_old(self, store: Store, backend: Backend) -> None:
        await append(store, "u", new("a"))
        backend.make_older("u", 100_000 * DAY)
        await append(store, "empty", new("a"))
        assert await store.delete_event("empty", "seq-1")
        before = backend.contents()
        assert await store.expire(["u", "empty"]) == 0
        assert backend.contents() == before
        await append(store, "u", new("b"))
        assert sequences((await read(store, "u")).pending) == [1, 2]

    async def test_a_merge_makes_nothing_younger(self, backend: Backend) -> None:
        store = await backend.open(days=2)
        await append(store, "u", new("late", None, 1.0), new("last", None, 9.0))
        await append(store, "v", new("old", None, 5.0))
        backend.make_older("v", 1.5 * DAY)
        backend.make_older("u", 0.2 * DAY)
        assert await store.merge("u", "v")
        await append(store, "u", new("new"))
        assert [e.item_id for e in (await read(store, "u")).pending] == ["late", "old", "last", "new"]
        backend.make_older("u", DAY)
        # What stands before it, by its time, goes with it.
        assert await store.expire(["u"]) == 2
        assert [e.item_id for e in (await read(store, "u")).pending] == ["last", "new"]
        backend.check()
        await store.close()
