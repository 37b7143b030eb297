"""The store on a primary that sentinels name."""

from __future__ import annotations

import asyncio

import pytest

from service.core.errors import StoreUnavailable
from service.store.errors import StoreRefusedError
from service.store.factory import open_store
from service.store.redis.deployments.node import Connections
from service.store.redis.deployments.pools import primary_pool
from service.store.redis.deployments.url import parse_url
from tests.deployments import SentinelServers
from tests.store.backends import LONG_TIMEOUT_SECONDS, RedisBackend
from tests.store.calls import append, new, read
from tests.store.contract import StoreContract
from tests.store.random_operations import compare_with_reference

pytestmark = pytest.mark.anyio


@pytest.fixture
def backend(shared_sentinels: SentinelServers) -> RedisBackend:
    backend = RedisBackend(shared_sentinels.primary, LONG_TIMEOUT_SECONDS, shared_sentinels.url, min_replicas=1)
    with backend.client() as client:
        client.flushall()
    return backend


class TestRedisWithSentinels(StoreContract):
    pass


def test_random_operations_agree_with_the_reference_store(backend: RedisBackend) -> None:
    compare_with_reference(backend, examples=30)


async def test_service_name_that_no_sentinel_knows_is_refused(shared_sentinels: SentinelServers) -> None:
    with pytest.raises(StoreRefusedError, match="the Redis primary other cannot be reached"):
        await open_store(shared_sentinels.url.replace("mymaster", "other"), 10)


async def test_cancelled_call_ends_also_while_the_sentinels_are_asked(shared_sentinels: SentinelServers) -> None:
    connections = Connections(primary_pool(parse_url(shared_sentinels.url), 5.0), 1)
    for step in range(500):
        await connections.drop_idle()
        call = asyncio.create_task(connections.pipeline([("PING",)]))
        await asyncio.sleep(step * 10e-6)  # opening a connection takes some 2 ms
        if call.cancel():
            with pytest.raises(asyncio.CancelledError):
                await call


async def test_new_primary_is_found_after_a_failover() -> None:
    with SentinelServers() as servers:
        store = await open_store(servers.url, 1000, min_replicas=1)
        await append(store, "u", *(new(f"i{n}", f"e{n}") for n in range(5)))
        servers.primary.kill()
        async with asyncio.timeout(30):
            while True:
                try:
                    log = (await read(store, "u", None)).pending
                    break
                except StoreUnavailable:
                    await asyncio.sleep(0.05)
        assert [event.event_id for event in log] == [f"e{n}" for n in range(5)]
        # The only replica is the primary now, so the write is done but on no replica, and not acknowledged.
        with pytest.raises(StoreUnavailable, match="replicas"):
            await append(store, "u", new("i5", "e5"))
        with pytest.raises(StoreUnavailable, match="replicas"):
            await append(store, "u", new("i5", "e5"))
        servers.primary.start()  # the sentinels make it the replica
        async with asyncio.timeout(30):
            while True:
                try:
                    again = await append(store, "u", new("i5", "e5"))
                    break
                except StoreUnavailable:
                    await asyncio.sleep(0.05)
        # The third attempt returns what the first would have returned.
        assert (again.appended[0].sequence, again.sequence) == (6, 6)
        await store.close()
