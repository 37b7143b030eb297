"""A Redis stream as a source of entries, on a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import redis

from service.core.errors import StoreUnavailable
from service.core.jobs.streams.stream_source import FIRST, LeaseLostError, RejectedEntry
from service.store.errors import StoreRefusedError
from service.store.streams.redis_stream import RedisStream, open_stream
from tests.servers import RedisServer, free_port

GROUP, FOREIGN = "recblr", "somebody"
pytestmark = pytest.mark.anyio


@pytest.fixture
def stream(request: pytest.FixtureRequest) -> str:
    return f"events-{request.node.name}"


@pytest.fixture
def client(shared_redis: RedisServer) -> Iterator[Any]:
    with redis.Redis.from_url(shared_redis.url, decode_responses=True) as client:
        yield client


@pytest.fixture
async def sources(shared_redis: RedisServer, stream: str) -> AsyncIterator[tuple[RedisStream, RedisStream]]:
    pair = [await open_stream(shared_redis.url, stream, GROUP, timeout_seconds=10.0) for _ in range(2)]
    yield pair[0], pair[1]
    for source in pair:
        await source.close()


def send(client: Any, stream: str, count: int) -> list[str]:
    return [client.xadd(stream, {"user_id": "u", "item_id": str(n)}) for n in range(count)]


async def test_new_entries_are_read_once_from_the_oldest_on(
    sources: tuple[RedisStream, RedisStream], client: Any, stream: str
) -> None:
    ids = send(client, stream, 5)
    source = sources[0]
    assert await source.acquire_lease()
    assert await source.read_pending(FIRST, 10) == ([], FIRST)
    first, second, none = await source.read_new(3), await source.read_new(3), await source.read_new(3)
    assert [entry.entry_id for entry in first + second + none] == ids
    assert first[0].fields == {b"user_id": b"u", b"item_id": b"0"}
    assert await source.lag() == 5
    await source.acknowledge(first, [])
    assert await source.lag() == 2
    assert client.xpending(stream, GROUP)["pending"] == 2


async def test_next_leader_reads_the_pending_entries(
    sources: tuple[RedisStream, RedisStream], client: Any, stream: str
) -> None:
    ids = send(client, stream, 5)
    first, second = sources
    assert await first.acquire_lease()
    assert await first.acquire_lease()
    assert not await second.acquire_lease()
    for refused in (second.renew_lease(), second.read_new(5), second.read_pending(FIRST, 5)):
        with pytest.raises(LeaseLostError):
            await refused
    await second.release_lease()  # without effect: it does not hold the lease
    taken = await first.read_new(3)
    await first.acknowledge(taken[:1], [])
    await first.release_lease()
    with pytest.raises(LeaseLostError):
        await first.read_new(3)
    assert await second.acquire_lease()
    found, after = await second.read_pending(FIRST, 1)
    assert after != FIRST
    more, after = await second.read_pending(after, 5)
    assert ([entry.entry_id for entry in found + more], after) == (ids[1:3], FIRST)
    assert [entry.entry_id for entry in await second.read_new(5)] == ids[3:]


async def test_lease_is_extended_by_reading_and_expires_otherwise(
    sources: tuple[RedisStream, RedisStream], client: Any, stream: str
) -> None:
    first, second = sources
    assert await first.acquire_lease()
    assert 0 < client.pttl(f"{stream}:{GROUP}:lease") <= 3000
    client.pexpire(f"{stream}:{GROUP}:lease", 500)
    await first.renew_lease()
    assert client.pttl(f"{stream}:{GROUP}:lease") > 500
    client.pexpire(f"{stream}:{GROUP}:lease", 1)
    await asyncio.sleep(0.1)
    assert await second.acquire_lease()
    with pytest.raises(LeaseLostError):
        await first.renew_lease()


async def test_pending_entries_of_another_consumer_are_claimed(
    sources: tuple[RedisStream, RedisStream], client: Any, stream: str
) -> None:
    ids = send(client, stream, 3)
    client.xreadgroup(GROUP, FOREIGN, {stream: ">"}, count=2)
    client.xdel(stream, ids[0])  # a deleted entry cannot be claimed
    source = sources[0]
    assert await source.acquire_lease()
    found, after = await source.read_pending(FIRST, 10)
    assert ([entry.entry_id for entry in found], after) == ([ids[1]], FIRST)


async def test_rejected_entries_go_to_the_dead_letters_with_the_reason(
    sources: tuple[RedisStream, RedisStream], client: Any, stream: str
) -> None:
    client.xadd(stream, {"user_id": "u", "reason": "mine"})
    source = sources[0]
    assert await source.acquire_lease()
    [entry] = await source.read_new(5)
    await source.acknowledge([], [RejectedEntry(entry, "item_id is required")])
    [(_, aside)] = client.xrange(f"{stream}:{GROUP}:dead")
    assert aside == {
        "recblr:format": "1",
        "recblr:reason": "item_id is required",
        "recblr:entry_id": entry.entry_id,
        "user_id": "u",
        "reason": "mine",
    }
    assert client.xpending(stream, GROUP)["pending"] == 0


async def test_deleted_stream_is_created_again(
    sources: tuple[RedisStream, RedisStream], client: Any, stream: str
) -> None:
    source = sources[0]
    assert await source.acquire_lease()
    client.delete(stream)
    with pytest.raises(StoreUnavailable):
        await source.read_new(5)
    [entry_id] = send(client, stream, 1)
    assert await source.acquire_lease()
    assert [entry.entry_id for entry in await source.read_new(5)] == [entry_id]


async def test_unreachable_redis_is_refused_at_start_and_unavailable_later() -> None:
    with pytest.raises(StoreRefusedError, match=r"127\.0\.0\.1"):
        await open_stream(f"redis://:hunter2@127.0.0.1:{free_port()}/0", "s", GROUP)
    with pytest.raises(StoreRefusedError, match="malformed"):
        await open_stream("redis://127.0.0.1:port/0", "s", GROUP)
    with RedisServer() as server:
        source = await open_stream(server.url, "s", GROUP)
        assert await source.acquire_lease()
        server.pause()
        with pytest.raises(StoreUnavailable):
            await source.read_new(1)
        server.resume()
        server.kill()
        for call in (
            source.acquire_lease(),
            source.renew_lease(),
            source.read_new(1),
            source.lag(),
            source.release_lease(),
        ):
            with pytest.raises(StoreUnavailable):
                await call
        await source.close()


async def test_key_of_another_type_is_refused(shared_redis: RedisServer, client: Any, stream: str) -> None:
    client.set(stream, "a string")
    with pytest.raises(StoreRefusedError, match="WRONGTYPE"):
        await open_stream(shared_redis.url, stream, GROUP)
