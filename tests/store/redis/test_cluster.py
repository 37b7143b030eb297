"""The store on a cluster of three primaries, each with a replica."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from redis import Redis
from redis.crc import key_slot

from service.core.errors import StoreUnavailable
from service.core.events import AppendAndRead, Appended
from service.store.errors import StoreRefusedError
from service.store.factory import open_store
from service.store.redis.cluster import Cluster
from service.store.redis.connections import Command
from service.store.redis.layout import keys
from service.store.redis.node import Node
from service.store.redis.pools import server_pool
from service.store.redis.store import RedisStore
from service.store.redis.url import Address, parse_url
from tests.deployments import ClusterServers
from tests.servers import RedisServer
from tests.store.backends import ClusterBackend
from tests.store.calls import V, append, append_and_read_all, new, put, read
from tests.store.contract import StoreContract
from tests.store.random_operations import compare_with_model

pytestmark = pytest.mark.anyio

PATIENT = 30.0  # seconds of budget: these tests are about meaning, not about time


@pytest.fixture
def backend(shared_cluster: ClusterServers) -> ClusterBackend:
    shared_cluster.clear()
    return ClusterBackend(shared_cluster, PATIENT)


class TestRedisCluster(StoreContract):
    pass


def test_random_operations_agree_with_the_model(backend: ClusterBackend) -> None:
    compare_with_model(backend, examples=60)


async def test_a_batch_is_one_exchange_with_each_node(shared_cluster: ClusterServers) -> None:
    target = parse_url(shared_cluster.url)
    exchanges: Counter[int] = Counter()

    class CountingNode(Node):
        def __init__(self, address: Address) -> None:
            super().__init__(server_pool(target, address, PATIENT), str(address), PATIENT)
            self._port = address.port

        async def pipeline(self, commands: Sequence[Command], deadline: float) -> list[Any]:
            exchanges[self._port] += 1
            return await super().pipeline(commands, deadline)

    cluster = Cluster(target.addresses, CountingNode, PATIENT)
    await cluster.check()
    store = RedisStore(cluster, events_kept=10)
    users = [f"u{n}" for n in range(60)]
    await append_and_read_all(store, [AppendAndRead(user, V, (new("a"),)) for user in users])
    exchanges.clear()
    await append_and_read_all(store, [AppendAndRead(user, V, (new("b"),)) for user in users])
    assert exchanges == {node.port: 1 for node in shared_cluster.nodes[:3]}
    await store.close()


def owner(cluster: ClusterServers, user_id: str) -> RedisServer:
    """The primary that holds the user."""
    return cluster.nodes[3 * key_slot(keys(user_id)[0].encode()) // 16384]


async def test_it_starts_from_any_node_and_finds_the_others(
    backend: ClusterBackend, shared_cluster: ClusterServers
) -> None:
    replica = shared_cluster.nodes[5]
    for nodes in (f"127.0.0.1:{replica.port}", f"127.0.0.1:1,127.0.0.1:{replica.port}"):
        store = await open_store(f"redis+cluster://{nodes}", 10)
        for n in range(9):
            assert (await append(store, f"{nodes}{n}", new("a"))).sequence == 1
        await store.close()


async def test_any_primary_that_evicts_is_refused(backend: ClusterBackend, shared_cluster: ClusterServers) -> None:
    with Redis(port=shared_cluster.nodes[2].port) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            with pytest.raises(StoreRefusedError, match=f"{client_port(client)} may evict events"):
                await backend.open()
        finally:
            client.config_set("maxmemory-policy", "noeviction")


def client_port(client: Redis) -> int:
    return int(client.connection_pool.connection_kwargs["port"])


async def test_the_wrong_kind_of_redis_is_refused(shared_cluster: ClusterServers, shared_redis: RedisServer) -> None:
    with pytest.raises(StoreRefusedError, match=r"is a node of a cluster; begin the state URL with redis\+cluster"):
        await open_store(shared_cluster.nodes[0].url, 10)
    with pytest.raises(StoreRefusedError, match="is no node of a cluster; begin the state URL with redis://"):
        await open_store(f"redis+cluster://127.0.0.1:{shared_redis.port}", 10)
    with pytest.raises(StoreRefusedError, match="cannot be reached"):
        await open_store("redis+cluster://127.0.0.1:1", 10)


async def test_scripts_survive_a_flush(backend: ClusterBackend, shared_cluster: ClusterServers) -> None:
    store = await backend.open()
    for node in shared_cluster.nodes[:3]:
        with Redis(port=node.port) as client:
            client.script_flush()
    requests = [AppendAndRead(f"u{n % 10}", V, (new(f"i{n}"),)) for n in range(30)]
    views = await append_and_read_all(store, requests)
    assert [s.appended[0] for s in views] == [Appended(1 + n // 10, False) for n in range(30)]
    backend.check()
    await store.close()


async def test_a_slot_that_is_being_moved(backend: ClusterBackend, shared_cluster: ClusterServers) -> None:
    """While it moves its users get 503s or right answers; then they are found at the other node."""
    source, target = shared_cluster.nodes[0], shared_cluster.nodes[1]
    user = next(f"u{n}" for n in range(100) if owner(shared_cluster, f"u{n}") is source)
    slot = key_slot(keys(user)[0].encode())
    store = await backend.open()
    await append(store, user, new("a", "e1"), new("b", "e2"))
    assert await put(store, user, 2, b"memo")
    with Redis(port=source.port) as here, Redis(port=target.port) as there:
        there.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", shared_cluster.node_id(source))
        here.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", shared_cluster.node_id(target))
        # All keys are still here; a reader finds them.
        assert (await read(store, user)).snapshot == b"memo"
        moved = here.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1000)
        first, rest = moved[:1], moved[1:]
        _migrate(here, target, first)
        # Some are here and some are there: nobody can run a script on all of them, and nobody does half of one.
        with pytest.raises(StoreUnavailable, match="moving"):
            await append(store, user, new("c", "e3"))
        _migrate(here, target, rest)
        # All of them are there, and the source sends us: ASK.
        assert (await append(store, user, new("c", "e3"))).appended == (Appended(3, False),)
        for client in (there, here):
            client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", shared_cluster.node_id(target))
        # Now it is theirs: MOVED, once.
        view = await append(store, user, new("c", "e3"), new("d"))
        assert view.appended == (Appended(3, True), Appended(4, False))
        assert view.snapshot == b"memo"
        backend.check()
        await store.close()
        # Back, for the tests that come after.
        shared_cluster.clear()
        here.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", shared_cluster.node_id(target))
        there.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", shared_cluster.node_id(source))
        for client in (here, there):
            client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", shared_cluster.node_id(source))
        shared_cluster.await_whole()


def _migrate(source: Redis, target: RedisServer, names: list[bytes]) -> None:
    source.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *names)


async def test_a_planned_failover_is_followed_at_once(
    backend: ClusterBackend, shared_cluster: ClusterServers
) -> None:
    """The former primary says where the users are now, and that it can WAIT no more."""
    store = await ClusterBackend(shared_cluster, PATIENT, min_replicas=1).open()
    users = [f"u{n}" for n in range(9)]
    await append_and_read_all(store, [AppendAndRead(user, V, (new("a", "e1"),)) for user in users])
    for replica in (3, 0):  # and back, for the tests that come after
        shared_cluster.fail_over(shared_cluster.nodes[replica])
        shared_cluster.await_whole()
        views = await append_and_read_all(
            store, [AppendAndRead(user, V, (new("b", f"after {replica}"),)) for user in users]
        )
        assert {view.appended[0].duplicate for view in views} == {False}
    backend.check()
    await store.close()


async def test_a_hung_primary_costs_its_own_users_alone(
    backend: ClusterBackend, shared_cluster: ClusterServers
) -> None:
    store = await ClusterBackend(shared_cluster, timeout=0.5).open()
    users = [f"u{n}" for n in range(30)]
    hung = shared_cluster.nodes[2]
    await append_and_read_all(store, [AppendAndRead(user, V, (new("a", "e1"),)) for user in users])
    hung.pause()
    try:
        entries = await store.append_and_read([AppendAndRead(user, V, (new("b", "e2"),)) for user in users])
        for user, entry in zip(users, entries, strict=True):
            assert isinstance(entry, StoreUnavailable) == (owner(shared_cluster, user) is hung)
        await store.ping()  # the others' users are served
    finally:
        hung.resume()
    async with asyncio.timeout(20):
        while any(isinstance(entry, StoreUnavailable) for entry in entries):
            entries = await store.append_and_read([AppendAndRead(user, V, (new("b", "e2"),)) for user in users])
            await asyncio.sleep(0.02)
    assert {entry.sequence for entry in entries if not isinstance(entry, StoreUnavailable)} == {2}
    backend.check()
    await store.close()
