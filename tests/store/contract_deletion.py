"""Contract of every store: deleting events and users."""

from __future__ import annotations

from service.core.events import Appended, LogView
from service.core.ports import Store
from tests.store.backends import Backend
from tests.store.calls import append, new, put, read, sequences


class DeletionContract:
    async def test_delete_event_by_event_id(self, store: Store, backend: Backend) -> None:
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
        # The event id is free again, the sequence is not.
        assert (await append(store, "u", new("z", "y"))).appended == (Appended(4, False),)
        backend.check()

    async def test_delete_event_by_sequence(self, store: Store, backend: Backend) -> None:
        await append(store, "u", new("a", "x"), new("b"), new("c"))
        assert not await store.delete_event("u", "seq-1")  # this event has an id of its own
        for absent in ("seq-0", "seq-4", "seq-99999999999999999999", "seq-", "seq-2x", "nothing"):
            assert not await store.delete_event("u", absent)
        assert await store.delete_event("u", "seq-2")
        assert not await store.delete_event("u", "seq-2")
        assert sequences((await read(store, "u")).pending) == [1, 3]
        backend.check()

    async def test_delete_the_only_event_keeps_the_sequence(self, store: Store) -> None:
        await append(store, "u", new("a"))
        assert await store.delete_event("u", "seq-1")
        view = await read(store, "u")
        assert (view.sequence, view.pending) == (1, ())
        assert (await append(store, "u", new("b"))).appended == (Appended(2, False),)

    async def test_pending_events_after_a_snapshot_skip_gaps(self, store: Store) -> None:
        await append(store, "u", *(new(f"i{n}") for n in range(1, 9)))
        for sequence in (2, 4, 5, 7):
            assert await store.delete_event("u", f"seq-{sequence}")
        for applied, pending in ((1, [3, 6, 8]), (2, [3, 6, 8]), (3, [6, 8]), (5, [6, 8]), (7, [8]), (8, [])):
            assert await put(store, "u", applied, str(applied).encode())
            view = await read(store, "u")
            assert (view.snapshot, sequences(view.pending)) == (str(applied).encode(), pending)

    async def test_delete_user_leaves_nothing(self, store: Store, backend: Backend) -> None:
        await append(store, "gone-user", new("gone-item", "gone-id"), new("gone-item"), new("a", "gone-id-2"))
        await append(store, "other", new("a", "x"))
        assert await put(store, "gone-user", 2, b"gone-snapshot", version="gone-version")
        assert "gone" in backend.contents()
        assert await store.delete_event("gone-user", "gone-id-2")
        assert await put(store, "gone-user", 2, b"gone-snapshot", version="gone-version")
        assert await store.delete_user("gone-user") == 2
        assert "gone" not in backend.contents()
        assert await read(store, "gone-user") == LogView("", 0, 0, None, ())
        assert sequences((await read(store, "other")).pending) == [1]
        backend.check()

    async def test_only_deletions_raise_the_counter(self, backend: Backend) -> None:
        """An export reads the log again when the counter has changed."""
        store = await backend.open(keep=2)
        await append(store, "u", new("a", "x"), new("b"), new("c", "y"))  # retention removes the first
        assert await put(store, "u", 3)
        assert not await store.delete_event("u", "x")
        assert await store.delete_user("nobody") == 0
        assert backend.deletions("u") == 0
        assert await store.delete_event("u", "y")
        assert await store.delete_event("u", "seq-2")
        assert backend.deletions("u") == 2
        # The log is empty, but an export may still hold the event that retention removed.
        assert await store.delete_user("u") == 0
        assert backend.deletions("u") == 3
        assert await store.delete_user("u") == 0
        assert backend.deletions("u") == 3
        await store.close()

    async def test_recreated_user_refuses_old_snapshots(self, store: Store) -> None:
        old = await append(store, "u", new("a", "x"), new("b"))
        assert await store.delete_user("u") == 2
        assert not await put(store, "u", 1, generation=old.generation)
        fresh = await append(store, "u", new("c", "x"), new("d"))
        assert fresh.appended == (Appended(1, False), Appended(2, False))
        assert fresh.generation not in ("", old.generation)
        assert not await put(store, "u", 2, generation=old.generation)
        assert not await put(store, "u", 2, generation=old.generation, repair=True)
        assert (await read(store, "u")).snapshot is None
