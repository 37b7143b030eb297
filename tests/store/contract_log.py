"""Contract of every store: appending and reading events."""

from __future__ import annotations

import asyncio

import pytest

from service.core.events import AppendAndRead, Appended, Conflict, Event, LogView
from service.core.ports import Store
from tests.store.backends import Backend
from tests.store.calls import V, append, append_and_read_all, new, put, read, sequences


class LogContract:
    async def test_unknown_user_has_no_events(self, store: Store) -> None:
        assert await read(store, "u") == LogView("", 0, 0, None, ())
        assert await read(store, "u", None) == LogView("", 0, 0, None, ())
        assert await store.history("u", None, 10) is None
        assert not await store.delete_event("u", "a")
        assert not await store.delete_event("u", "seq-1")
        assert await store.delete_user("u") == 0
        assert not await put(store, "u", 0, generation="")

    async def test_append_returns_the_events_as_appended(self, store: Store) -> None:
        view = await append(store, "u", new("a", "id-1", 1.5), new("b", None, 2.5))
        assert view.appended == (Appended(1, False), Appended(2, False))
        assert view.pending == (Event(1, "a", 1.5, "id-1"), Event(2, "b", 2.5, "seq-2"))
        assert (view.sequence, view.trimmed, view.snapshot) == (2, 0, None)
        assert view.generation
        again = await read(store, "u")
        assert again == LogView(view.generation, 2, 0, None, view.pending)

    async def test_empty_batches_return_empty_lists(self, store: Store) -> None:
        assert await store.append_and_read([]) == []
        assert await store.put_snapshots([]) == []

    async def test_read_without_events_leaves_the_store_unchanged(self, store: Store, backend: Backend) -> None:
        await append(store, "u", new("a", "id-1"))
        before = backend.contents()
        await append_and_read_all(store, [AppendAndRead("u", V), AppendAndRead("v", V), AppendAndRead("u", None)])
        assert backend.contents() == before

    async def test_duplicate_event_id_returns_first_sequence(self, store: Store) -> None:
        await append(store, "u", new("a", "id-1"), new("b", "id-2"))
        view = await append(store, "u", new("a", "id-1"))
        assert view.appended == (Appended(1, True),)
        assert (view.sequence, len(view.pending)) == (2, 2)

    async def test_event_id_with_another_payload_conflicts(self, store: Store) -> None:
        await append(store, "u", new("z"), new("a", "id-1"))
        view = await append(store, "u", new("b", "id-1"), new("c", "id-2"), new("a", "id-1", 9.0))
        assert view.appended == (Conflict(2), Appended(3, False), Conflict(2))
        assert [event.item_id for event in view.pending] == ["z", "a", "c"]

    async def test_duplicates_and_conflicts_within_one_request_are_found(self, store: Store) -> None:
        view = await append(store, "u", new("a", "x"), new("a", "x"), new("b", "x"), new("a"), new("a"))
        assert view.appended == (
            Appended(1, False),
            Appended(1, True),
            Conflict(1),
            Appended(2, False),
            Appended(3, False),
        )

    async def test_two_users_may_use_the_same_event_id(self, store: Store) -> None:
        await append(store, "u", new("a", "x"))
        assert (await append(store, "v", new("b", "x"))).appended == (Appended(1, False),)

    async def test_requests_of_one_user_in_a_batch_run_in_order(self, store: Store) -> None:
        requests = [AppendAndRead(f"u{n % 2}", V, (new(f"i{n}", f"id-{n}"),)) for n in range(20)]
        requests += [AppendAndRead("u0", V), AppendAndRead("u1", V, (new("again", "id-1"),))]
        views = await append_and_read_all(store, requests)
        for n, view in enumerate(views[:20]):
            assert view.appended == (Appended(n // 2 + 1, False),)
            assert [event.item_id for event in view.pending] == [f"i{m}" for m in range(n % 2, n + 1, 2)]
        assert views[20].pending == views[18].pending
        assert views[21].appended == (Conflict(1),)

    async def test_concurrent_writers_get_one_log_without_gaps(self, store: Store, backend: Backend) -> None:
        other = await backend.open()

        async def write(writer: int) -> list[LogView]:
            through = store if writer % 2 else other
            return [await append(through, "u", new(f"{writer}-{n}", f"{writer}-{n}")) for n in range(8)]

        written = [s for mine in await asyncio.gather(*map(write, range(32))) for s in mine]
        log = (await read(store, "u")).pending
        assert sequences(log) == list(range(1, 257))
        assert sorted(s.sequence for s in written) == list(range(1, 257))
        for view in written:
            assert view.pending == log[: view.sequence]
            assert view.appended == (Appended(view.sequence, False),)
        for writer in range(32):
            mine = [event.item_id for event in log if event.item_id.startswith(f"{writer}-")]
            assert mine == [f"{writer}-{n}" for n in range(8)]
        await other.close()

    async def test_event_sent_concurrently_is_appended_once(self, store: Store, backend: Backend) -> None:
        other = await backend.open()
        sent = [append(through, "u", new("a", "x")) for through in (store, other) for _ in range(16)]
        outcomes = [view.appended[0] for view in await asyncio.gather(*sent)]
        assert outcomes.count(Appended(1, False)) == 1
        assert outcomes.count(Appended(1, True)) == 31
        await other.close()

    @pytest.mark.parametrize(
        "text",
        [
            "x" * 256,
            "日本語 ключ 🙂",
            "with  spaces ",
            "{braces}{}",
            "a:b:c",
            "100%d%s%",
            "seq-x",
            "new\nline",
            "nul\0nul",
            "'; DROP TABLE users; --",
            "e:gen",
            "🙂" * 256,
        ],
    )
    async def test_ids_may_be_any_text(self, store: Store, backend: Backend, text: str) -> None:
        await append(store, text, new(text, text), new("plain"))
        assert (await append(store, text, new(text, text), new("b", text))).appended == (
            Appended(1, True),
            Conflict(1),
        )
        assert (await read(store, text)).pending == (Event(1, text, 1.5, text), Event(2, "plain", 1.5, "seq-2"))
        assert await put(store, text, 2, b"m", version=text)
        assert (await read(store, text, text)).snapshot == b"m"
        assert await store.delete_event(text, text)
        assert (await read(store, text, text)).snapshot is None
        assert await store.delete_user(text) == 1

    @pytest.mark.parametrize(
        "time", [0.1, 1700000000.123456, 1 / 3, 1e308, 5e-324, -1.5, 0.0, 2.0**53 + 2, 1e15 + 0.5]
    )
    async def test_timestamps_are_stored_exactly(self, store: Store, time: float) -> None:
        [event] = (await append(store, "u", new("a", None, time))).pending
        assert event.timestamp == time
        assert isinstance(event.timestamp, float)
        assert (await append(store, "u", new("a", "x", time), new("a", "x", time))).appended[1] == Appended(2, True)

    async def test_history_returns_pages_from_the_newest_on(self, backend: Backend) -> None:
        store = await backend.open(keep=8)
        await append(store, "u", *(new(f"i{n}", f"id-{n}" if n % 2 else None) for n in range(1, 11)))
        for event_id in ("seq-4", "id-7", "id-9"):
            assert await store.delete_event("u", event_id)
        kept = [3, 5, 6, 8, 10]
        whole = await store.history("u", None, 100)
        assert whole is not None
        assert (whole.sequence, whole.kept, whole.trimmed, sequences(whole.events)) == (10, 5, 2, kept)
        assert whole.events == (await read(store, "u", None)).pending
        for before in (None, 0, 1, 3, 4, 5, 7, 9, 10, 11, 10**25):
            for limit in (1, 2, 5, 9):
                page = await store.history("u", before, limit)
                assert page is not None
                below = [s for s in kept if before is None or s < before]
                assert (page.kept, sequences(page.events)) == (5, below[-limit:])
        await store.close()

    async def test_reopened_store_has_everything(self, backend: Backend) -> None:
        first = await backend.open()
        written = await append(first, "u", *(new(f"i{n}", f"id-{n}") for n in range(20)))
        assert await put(first, "u", 19, b"snapshot")
        await first.close()
        second = await backend.open()
        view = await read(second, "u")
        assert (view.generation, view.snapshot, sequences(view.pending)) == (
            written.generation,
            b"snapshot",
            [20],
        )
        assert (await append(second, "u", new("i3", "id-3"))).appended == (Appended(4, True),)
        assert (await read(second, "u", None)).pending == written.pending
        await second.close()

    async def test_ping_succeeds(self, store: Store) -> None:
        await store.ping()
