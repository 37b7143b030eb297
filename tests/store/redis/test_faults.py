"""A Redis that is configured wrongly, dies, hangs or is full."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from service.core.errors import StoreUnavailable
from service.core.events import AppendAndRead, Appended, LogView
from service.core.ports import Store
from service.store.errors import StoreRefusedError
from service.store.factory import open_store
from service.store.redis.layout import keys
from tests.servers import RedisServer, free_port
from tests.store.backends import RedisBackend
from tests.store.calls import V, append, new, put, read, sequences

pytestmark = pytest.mark.anyio


@pytest.fixture
def backend() -> Iterator[RedisBackend]:
    """A server of its own for each test, to be ill-treated."""
    with RedisServer() as server:
        yield RedisBackend(server)


async def recovered(store: Store) -> None:
    """Return once the store answers again."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await store.ping()
            except StoreUnavailable:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
async def test_a_policy_that_evicts_is_refused(backend: RedisBackend, policy: str) -> None:
    with backend.client() as client:
        client.config_set("maxmemory-policy", policy)
    with pytest.raises(StoreRefusedError, match=f"maxmemory-policy is {policy}.*set it to noeviction"):
        await backend.open()


async def test_the_policy_is_read_where_config_is_forbidden(backend: RedisBackend) -> None:
    url = f"redis://shop:secret@127.0.0.1:{backend.server.port}"
    with backend.client() as client:
        client.execute_command("ACL SETUSER", "shop", "on", ">secret", "~*", "&*", "+@all", "-config")
        store = await open_store(url, 10)
        await append(store, "u", new("a"))
        await store.close()
        client.config_set("maxmemory-policy", "allkeys-random")
        with pytest.raises(StoreRefusedError, match="allkeys-random"):
            await open_store(url, 10)
        client.execute_command("ACL SETUSER", "shop", "-info")
    with pytest.raises(StoreRefusedError, match="refuses INFO or SCRIPT LOAD"):
        await open_store(url, 10)


async def test_wrong_credentials_are_refused(backend: RedisBackend) -> None:
    with pytest.raises(StoreRefusedError, match="credentials") as refusal:
        await open_store(f"redis://me:secret@127.0.0.1:{backend.server.port}", 10)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
async def test_an_unreachable_server_is_refused(scheme: str) -> None:
    port = free_port()
    with pytest.raises(StoreRefusedError) as refusal:
        await open_store(f"{scheme}://me:secret@127.0.0.1:{port}/0", 10)
    assert str(refusal.value) == (f"Redis at 127.0.0.1:{port} cannot be reached; start it or correct the state URL.")


async def test_a_server_that_does_not_answer_is_refused(backend: RedisBackend) -> None:
    backend.server.pause()
    with pytest.raises(StoreRefusedError, match="cannot be reached"):
        await backend.open()


@pytest.mark.parametrize("url", ["redis://host:port", "redis://:secret@host:99999999"])
async def test_a_malformed_url_is_refused(url: str) -> None:
    with pytest.raises(StoreRefusedError) as refusal:
        await open_store(url, 10)
    assert "secret" not in str(refusal.value)


async def test_a_paused_server_is_unavailability_within_the_budget(backend: RedisBackend) -> None:
    store = await backend.open()
    await append(store, "u", new("a", "x"))
    backend.server.pause()
    began = time.monotonic()
    with pytest.raises(StoreUnavailable) as unavailable:
        await append(store, "u", new("b", "y"))
    with pytest.raises(StoreUnavailable) as refused:
        await store.ping()
    assert time.monotonic() - began < 2 * 1.5
    # Nothing was sent for the second call to wait for: who let the budget pass is left alone until it answers.
    assert refused.value.message == "the event log does not answer"
    # Clients need not know where Redis is; the log does.
    assert unavailable.value.message == "the event log did not answer in time"
    assert unavailable.value.for_log == f"Redis at 127.0.0.1:{backend.server.port} did not answer in time"
    backend.server.resume()
    await recovered(store)
    # The outcome of the write is unknown; with its event_id it can be sent again.
    view = await append(store, "u", new("b", "y"))
    assert view.appended[0].sequence == 2
    assert [event.item_id for event in view.pending] == ["a", "b"]
    backend.check()
    await store.close()


async def test_a_larger_budget_outlasts_a_pause(backend: RedisBackend) -> None:
    store = await RedisBackend(backend.server, timeout=20.0).open()
    await append(store, "u", new("a"))
    backend.server.pause()
    asyncio.get_running_loop().call_later(1.2, backend.server.resume)
    assert (await append(store, "u", new("b"))).sequence == 2
    await store.close()


async def test_an_append_whose_answer_is_lost_is_not_sent_again(backend: RedisBackend) -> None:
    """Without an event_id nothing would recognise the repetition."""
    silenced = asyncio.Event()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inward, outward = await asyncio.open_connection("127.0.0.1", backend.server.port)

        async def forward() -> None:
            while request := await reader.read(65536):
                outward.write(request)
            outward.close()

        # Apart from each other: a large request comes in pieces, and not each of them is answered.
        forwarding = asyncio.create_task(forward())
        while answer := await inward.read(65536):
            if silenced.is_set():
                silenced.clear()  # this answer alone: a repetition would get through
                break
            writer.write(answer)
        forwarding.cancel()
        for end in (outward, writer):
            end.close()

    async with await asyncio.start_server(relay, "127.0.0.1", 0) as between:
        port = between.sockets[0].getsockname()[1]
        store = await open_store(f"redis://127.0.0.1:{port}", 10)
        await append(store, "u", new("a"))
        silenced.set()
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            await append(store, "u", new("b"))
        assert [event.item_id for event in (await read(store, "u")).pending] == ["a", "b"]
        await store.close()


async def test_a_cancelled_visit_does_not_leave_its_answer_to_another(backend: RedisBackend) -> None:
    store = await backend.open()
    await append(store, "u", new("a"))
    backend.server.pause()
    waiting = [asyncio.create_task(append(store, "u", new(f"i{n}"))) for n in range(40)]
    await asyncio.sleep(0.05)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    backend.server.resume()
    await recovered(store)
    assert await read(store, "nobody") == await read(store, "nobody either")
    backend.check()
    await store.close()


async def test_an_answer_that_comes_after_its_caller_has_gone_is_nobodys(backend: RedisBackend) -> None:
    """It is not there yet when the next exchange begins, so nothing that is unread tells of it."""
    store = await RedisBackend(backend.server, timeout=20.0).open()
    await append(store, "first", new("a"))
    backend.server.pause()
    gone = asyncio.create_task(append(store, "first", new("b")))
    await asyncio.sleep(0.1)  # it is sent
    gone.cancel()
    next_one = asyncio.create_task(append(store, "second", new("c")))
    await asyncio.sleep(0.1)
    backend.server.resume()
    assert [event.item_id for event in (await next_one).pending] == ["c"]
    await store.close()


async def test_what_was_acknowledged_survives_the_server(backend: RedisBackend) -> None:
    """kill -9 in the midst of writing; what got no answer is sent again after the restart."""
    store = await backend.open()
    acknowledged: dict[str, int] = {}
    unanswered: list[str] = []
    enough = asyncio.Event()

    async def write(writer: int) -> None:
        for n in count():
            event_id = f"{writer}-{n}"
            try:
                view = await append(store, f"u{writer % 2}", new("a", event_id))
            except StoreUnavailable:
                unanswered.append(event_id)
                return
            acknowledged[event_id] = view.appended[0].sequence
            if len(acknowledged) > 200:
                enough.set()

    writers = [asyncio.create_task(write(n)) for n in range(8)]
    async with asyncio.timeout(20):
        await enough.wait()
        backend.server.kill()
        await asyncio.gather(*writers)
        backend.server.start()
    await recovered(store)
    backend.check()
    assert len(unanswered) == 8
    for event_id in unanswered:
        user_id = f"u{int(event_id.split('-')[0]) % 2}"
        acknowledged[event_id] = (await append(store, user_id, new("a", event_id))).appended[0].sequence
    for parity in (0, 1):
        log = (await read(store, f"u{parity}")).pending
        assert sequences(log) == list(range(1, len(log) + 1))
        mine = {e: s for e, s in acknowledged.items() if int(e.split("-")[0]) % 2 == parity}
        assert {event.event_id: event.sequence for event in log} == mine
    await store.close()


async def test_no_memory_left_is_unavailability_and_half_of_nothing(backend: RedisBackend) -> None:
    store = await backend.open(keep=3)
    await append(store, "u", new("a", "x"), new("b"), new("c"))
    assert await put(store, "u", 3)
    token = (await read(store, "u")).generation
    before = backend.contents()
    with backend.client() as client, _no_memory(client):
        for user_id in ("u", "someone new"):
            with pytest.raises(StoreUnavailable, match="memory"):
                await append(store, user_id, new("a", "y"), new("b"), new("c"))
        with pytest.raises(StoreUnavailable, match="memory"):
            await put(store, "u", 3, repair=True, generation=token)
        assert backend.contents() == before
        # What frees memory or needs none goes on.
        assert sequences((await read(store, "u", None)).pending) == [1, 2, 3]
        assert (await append(store, "u", new("a", "x"))).appended == (Appended(1, True),)
        assert await store.delete_event("u", "x")
        assert await store.delete_user("u") == 2
    assert (await append(store, "u", new("a", "y"))).sequence == 1
    backend.check()
    await store.close()


async def test_an_append_that_finds_no_memory_does_not_fail_the_reads_beside_it(backend: RedisBackend) -> None:
    store = await backend.open()
    await append(store, "u", new("a", "x"), new("b"))
    assert await put(store, "u", 1)
    before = await read(store, "u")
    requests = [
        AppendAndRead("u", V),
        AppendAndRead("u", V, (new("c"),)),
        AppendAndRead("someone new", V, (new("c", "y"),)),
        AppendAndRead("u", V, (new("a", "x"),)),
        AppendAndRead("u", V),
    ]
    with backend.client() as client, _no_memory(client):
        for _ in ("warm", "after a flush"):
            read_first, refused, also_refused, duplicate, read_last = await store.append_and_read(requests)
            assert (read_first, read_last) == (before, before)
            assert isinstance(duplicate, LogView)
            assert duplicate.appended == (Appended(1, True),)
            for entry in (refused, also_refused):
                assert isinstance(entry, StoreUnavailable)
                assert "memory" in entry.message
            client.script_flush()
    appended = (await store.append_and_read(requests))[1]
    assert isinstance(appended, LogView)
    assert appended.appended == (Appended(3, False),)
    backend.check()
    await store.close()


async def test_a_server_that_does_not_answer_fails_every_visit_of_the_batch(backend: RedisBackend) -> None:
    store = await backend.open()
    backend.server.pause()
    entries = await store.append_and_read([AppendAndRead("u", V, (new("a"),)), AppendAndRead("v", V)])
    assert [type(entry) for entry in entries] == [StoreUnavailable, StoreUnavailable]
    backend.server.resume()
    await store.close()


class _no_memory:  # noqa: N801 - reads as what it does
    def __init__(self, client: Any) -> None:
        self._client = client

    def __enter__(self) -> None:
        self._client.config_set("maxmemory", 1)

    def __exit__(self, *error: object) -> None:
        self._client.config_set("maxmemory", 0)


async def test_a_replica_is_unavailability(backend: RedisBackend) -> None:
    store = await backend.open()
    await append(store, "u", new("a"))
    with backend.client() as client:
        client.replicaof("127.0.0.1", free_port())
        with pytest.raises(StoreUnavailable):
            await append(store, "u", new("b"))
        client.replicaof("NO", "ONE")
    assert (await append(store, "u", new("b"))).sequence == 2
    await store.close()


async def test_a_fault_of_ours_is_not_called_unavailability(backend: RedisBackend) -> None:
    store = await backend.open()
    with backend.client() as client:
        client.set(keys("u")[1], "not a list")
    with pytest.raises(Exception, match="WRONGTYPE"):
        await append(store, "u", new("a"))
    await store.close()
