"""Contract of every store: snapshots."""

from __future__ import annotations

from service.core.events import AppendAndRead, SnapshotPut
from service.core.new_items.vector_mark import VectorMark
from service.core.new_items.vector_store import VectorPosition
from service.core.ports import Store
from service.core.recommending.log_replay.snapshots import Snapshot, encode_snapshot
from tests.store.backends import Backend
from tests.store.calls import V, append, append_and_read_all, new, put, read, sequences


def marked(applied: int, revision: int) -> bytes:
    """A snapshot of a model with a content encoder."""
    return encode_snapshot(Snapshot(applied, 0, b"s", None, VectorMark(VectorPosition(revision, "t" * 16))), "u", V)


class SnapshotContract:
    async def test_snapshot_leaves_only_later_events_pending(self, store: Store) -> None:
        await append(store, "u", new("a"), new("b"), new("c"))
        assert await put(store, "u", 2, b"two")
        view = await append(store, "u", new("d"))
        assert (view.snapshot, sequences(view.pending)) == (b"two", [3, 4])
        without = await read(store, "u", None)
        assert (without.snapshot, sequences(without.pending)) == (None, [1, 2, 3, 4])

    async def test_snapshot_may_be_any_bytes(self, store: Store) -> None:
        await append(store, "u", new("a"))
        blob = bytes(range(256)) * 17
        assert await put(store, "u", 1, blob)
        assert (await read(store, "u")).snapshot == blob

    async def test_only_a_longer_snapshot_replaces_a_stored_one(self, store: Store) -> None:
        await append(store, "u", new("a"), new("b"), new("c"))
        assert await put(store, "u", 2, b"two")
        assert not await put(store, "u", 1, b"one")
        assert not await put(store, "u", 2, b"another two")
        assert (await read(store, "u")).snapshot == b"two"
        assert await put(store, "u", 3, b"three")
        assert (await read(store, "u")).snapshot == b"three"

    async def test_higher_vector_revision_replaces_a_longer_snapshot(self, store: Store) -> None:
        await append(store, "u", new("a"), new("b"), new("c"))
        assert await put(store, "u", 2, marked(2, 5))
        assert not await put(store, "u", 3, marked(3, 4))
        assert not await put(store, "u", 2, marked(2, 5))
        assert await put(store, "u", 1, marked(1, 6))
        view = await read(store, "u")
        assert (view.snapshot, sequences(view.pending)) == (marked(1, 6), [2, 3])
        assert await put(store, "u", 3, marked(3, 6))
        assert await put(store, "u", 1, marked(1, 4), repair=True)
        assert (await read(store, "u")).snapshot == marked(1, 4)

    async def test_marked_snapshot_replaces_an_unmarked_one(self, store: Store) -> None:
        await append(store, "u", new("a"), new("b"))
        assert await put(store, "u", 2, b"unmarked")
        assert not await put(store, "u", 1, marked(1, 0))
        assert await put(store, "u", 1, marked(1, 1))

    async def test_snapshot_beyond_the_log_is_refused(self, store: Store) -> None:
        await append(store, "u", new("a"))
        assert not await put(store, "u", 2)
        assert not await put(store, "u", 2, repair=True)
        assert (await read(store, "u")).snapshot is None

    async def test_snapshot_of_another_generation_is_refused(self, store: Store) -> None:
        await append(store, "u", new("a"))
        assert not await put(store, "u", 1, generation="other")
        assert not await put(store, "u", 1, generation="")
        assert not await put(store, "u", 1, generation="other", repair=True)
        assert not await put(store, "nobody", 0, generation="other")
        assert (await read(store, "u")).snapshot is None

    async def test_repair_replaces_a_longer_snapshot(self, store: Store) -> None:
        await append(store, "u", new("a"), new("b"))
        assert await put(store, "u", 2, b"damaged")
        assert await put(store, "u", 2, b"whole", repair=True)
        assert (await read(store, "u")).snapshot == b"whole"
        assert await put(store, "u", 1, b"shorter", repair=True)
        view = await read(store, "u")
        assert (view.snapshot, sequences(view.pending)) == (b"shorter", [2])

    async def test_stored_snapshot_beyond_the_log_counts_as_absent(self, store: Store, backend: Backend) -> None:
        await append(store, "u", new("a"), new("b"))
        assert await put(store, "u", 2)
        backend.plant_cursor("u", V, 3)
        view = await read(store, "u")
        assert (view.snapshot, sequences(view.pending)) == (None, [1, 2])
        # An append that makes the log long enough does not make the snapshot valid.
        view = await append(store, "u", new("c"))
        assert (view.snapshot, sequences(view.pending)) == (None, [1, 2, 3])
        backend.plant_cursor("u", V, 9)
        assert await put(store, "u", 3, b"rebuilt")
        assert (await read(store, "u")).snapshot == b"rebuilt"

    async def test_model_versions_have_separate_snapshots(self, store: Store) -> None:
        await append(store, "u", new("a"), new("b"))
        assert await put(store, "u", 2, b"of 1", version="1")
        assert await put(store, "u", 1, b"of 2", version="2")
        assert (await read(store, "u", "1")).snapshot == b"of 1"
        view = await read(store, "u", "2")
        assert (view.snapshot, sequences(view.pending)) == (b"of 2", [2])
        assert (await read(store, "u", "3")).snapshot is None

    async def test_two_versions_with_the_newest_first_write_are_kept(self, store: Store) -> None:
        await append(store, "u", new("a"), new("b"))
        for version in "12":
            assert await put(store, "u", 1, version.encode(), version=version)
        assert await put(store, "u", 2, b"1", version="1")  # not a first write: its order stays
        assert await put(store, "u", 1, b"3", version="3")
        assert [(await read(store, "u", version)).snapshot for version in "123"] == [None, b"2", b"3"]
        assert await put(store, "u", 1, b"1", version="1")  # dropped before, so a first write again
        assert [(await read(store, "u", version)).snapshot for version in "123"] == [b"1", None, b"3"]

    async def test_batch_returns_an_outcome_for_each_snapshot(self, store: Store) -> None:
        await append(store, "u", new("a"), new("b"))
        [view] = await append_and_read_all(store, [AppendAndRead("v", V, (new("a"),))])
        token = (await read(store, "u")).generation
        stored = await store.put_snapshots(
            [
                SnapshotPut("u", token, V, 1, b"1"),
                SnapshotPut("v", view.generation, V, 1, b"v"),
                SnapshotPut("u", token, V, 2, b"2"),
                SnapshotPut("u", token, V, 1, b"late"),
                SnapshotPut("v", token, V, 1, b"of another user"),
            ]
        )
        assert stored == [True, True, True, False, False]
        assert (await read(store, "u")).snapshot == b"2"
        assert (await read(store, "v")).snapshot == b"v"
