"""A Redis server that hangs, dies, or becomes a replica."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from itertools import count

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from service.core.errors import StoreUnavailable
from service.core.events import AppendAndRead
from service.core.ports import Store
from service.store.factory import open_store
from service.store.redis.deployments.node import Connections
from service.store.redis.deployments.pools import server_pool
from service.store.redis.deployments.url import Address, parse_url
from service.store.redis.layout import keys
from tests.servers import RedisServer, free_port
from tests.store.backends import RedisBackend
from tests.store.calls import V, append, new, read, sequences

pytestmark = pytest.mark.anyio


@pytest.fixture
def backend() -> Iterator[RedisBackend]:
    """A server of its own for each test, which may break it."""
    with RedisServer() as server:
        yield RedisBackend(server)


async def until_it_answers(store: Store) -> None:
    """Wait until the store answers again."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await store.ping()
            except StoreUnavailable:
                await asyncio.sleep(0.01)


async def test_paused_server_is_unavailable_within_the_timeout(backend: RedisBackend) -> None:
    store = await backend.open()
    await append(store, "u", new("a", "x"))
    backend.server.pause()
    started_at = time.monotonic()
    with pytest.raises(StoreUnavailable) as unavailable:
        await append(store, "u", new("b", "y"))
    with pytest.raises(StoreUnavailable) as refused:
        await store.ping()
    assert time.monotonic() - started_at < 2 * 1.5
    # Nothing was sent for the second call: after a timeout calls fail at once.
    assert refused.value.message == "the event log does not answer"
    # Clients are not told where Redis is; the operator's log is.
    assert unavailable.value.message == "the event log did not answer in time"
    assert unavailable.value.for_log == f"Redis at 127.0.0.1:{backend.server.port} did not answer in time"
    backend.server.resume()
    await until_it_answers(store)
    # The outcome of the write was unknown; its event_id makes it safe to send again.
    view = await append(store, "u", new("b", "y"))
    assert view.appended[0].sequence == 2
    assert [event.item_id for event in view.pending] == ["a", "b"]
    backend.check()
    await store.close()


async def test_longer_timeout_outlasts_a_pause(backend: RedisBackend) -> None:
    store = await RedisBackend(backend.server, timeout=20.0).open()
    await append(store, "u", new("a"))
    backend.server.pause()
    asyncio.get_running_loop().call_later(1.2, backend.server.resume)
    assert (await append(store, "u", new("b"))).sequence == 2
    await store.close()


async def test_append_whose_reply_is_lost_is_not_sent_again(backend: RedisBackend) -> None:
    """Without an event_id nothing would recognise the duplicate."""
    silenced = asyncio.Event()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inward, outward = await asyncio.open_connection("127.0.0.1", backend.server.port)

        async def forward() -> None:
            while request := await reader.read(65536):
                outward.write(request)
            outward.close()

        # In a task of its own: a large request arrives in pieces, and not each of them has a reply.
        forwarding = asyncio.create_task(forward())
        while answer := await inward.read(65536):
            if silenced.is_set():
                silenced.clear()  # only this reply: a second attempt would succeed
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


async def test_reply_to_a_cancelled_request_is_not_given_to_another(backend: RedisBackend) -> None:
    store = await backend.open()
    await append(store, "u", new("a"))
    backend.server.pause()
    waiting = [asyncio.create_task(append(store, "u", new(f"i{n}"))) for n in range(40)]
    await asyncio.sleep(0.05)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    backend.server.resume()
    await until_it_answers(store)
    assert await read(store, "nobody") == await read(store, "nobody either")
    backend.check()
    await store.close()


async def test_late_reply_to_a_cancelled_request_is_dropped(backend: RedisBackend) -> None:
    """The reply arrives after the next request was sent."""
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


async def test_acknowledged_events_survive_kill_9(backend: RedisBackend) -> None:
    """Requests without a reply are sent again after the restart."""
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
    await until_it_answers(store)
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


async def test_paused_server_fails_every_request_of_a_batch(backend: RedisBackend) -> None:
    store = await backend.open()
    backend.server.pause()
    entries = await store.append_and_read([AppendAndRead("u", V, (new("a"),)), AppendAndRead("v", V)])
    assert [type(entry) for entry in entries] == [StoreUnavailable, StoreUnavailable]
    backend.server.resume()
    await store.close()


async def test_server_that_became_a_replica_is_unavailable(backend: RedisBackend) -> None:
    store = await backend.open()
    await append(store, "u", new("a"))
    with backend.client() as client:
        client.replicaof("127.0.0.1", free_port())
        with pytest.raises(StoreUnavailable):
            await append(store, "u", new("b"))
        client.replicaof("NO", "ONE")
    assert (await append(store, "u", new("b"))).sequence == 2
    await store.close()


async def test_fault_is_not_reported_as_an_outage(backend: RedisBackend) -> None:
    store = await backend.open()
    with backend.client() as client:
        client.set(keys("u")[1], "not a list")
    with pytest.raises(Exception, match="WRONGTYPE"):
        await append(store, "u", new("a"))
    await store.close()


async def test_replies_that_arrive_together_keep_their_order_with_errors_among_them(backend: RedisBackend) -> None:
    pool = server_pool(parse_url(backend.server.url), Address("127.0.0.1", backend.server.port), 5.0)
    connections = Connections(pool, 1)
    commands = [("SET", "k", "v"), ("GET", "k"), ("LPUSH", "k", "x"), ("GET", "none"), ("PING",), ("UNKNOWN",)]
    for _ in range(2):  # on one connection
        stored, value, wrong_type, nothing, pong, unknown = await connections.pipeline(commands)
        assert (stored, value, nothing, pong) == (b"OK", b"v", None, b"PONG")
        assert isinstance(wrong_type, ResponseError)
        assert isinstance(unknown, ResponseError)
    await pool.disconnect()


async def test_connection_error_among_replies_ends_the_pipeline_and_its_connection() -> None:
    connected = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connected
        connected += 1
        while data := await reader.read(65536):
            # The client library introduces itself with commands of its own.
            writer.write(b"+OK\r\n" * data.count(b"CLIENT") + b"+PONG\r\n-LOADING data\r\n" * (b"PING" in data))

    port = free_port()
    async with await asyncio.start_server(answer, "127.0.0.1", port):
        pool = server_pool(parse_url(f"redis://127.0.0.1:{port}/0"), Address("127.0.0.1", port), 5.0)
        connections = Connections(pool, 1)
        for attempt in (1, 2):
            with pytest.raises(RedisConnectionError, match="data"):
                await connections.pipeline([("PING",), ("PING",)])
            assert connected == attempt
        await pool.disconnect()
