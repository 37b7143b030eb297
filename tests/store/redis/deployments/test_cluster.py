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
from service.store.redis.deployments.cluster import Cluster
from service.store.redis.deployments.deployment import Command
from service.store.redis.deployments.node import Node
from service.store.redis.deployments.pools import server_pool
from service.store.redis.deployments.url import Address, parse_url
from service.store.redis.layout import keys
from service.store.redis.store import RedisStore
from tests.deployments import ClusterServers
from tests.servers import RedisServer
from tests.store.backends import LONG_TIMEOUT_SECONDS, ClusterBackend
from tests.store.calls import V, append, append_and_read_all, new, put, read
from tests.store.contract import StoreContract
from tests.store.random_operations import compare_with_reference

pytestmark = pytest.mark.anyio


@pytest.fixture
def backend(shared_cluster: ClusterServers) -> ClusterBackend:
    shared_cluster.clear()
    return ClusterBackend(shared_cluster, LONG_TIMEOUT_SECONDS)


class TestRedisCluster(StoreContract):
    pass


def test_random_operations_agree_with_the_reference_store(backend: ClusterBackend) -> None:
    compare_with_reference(backend, examples=60)


async def test_batch_is_one_pipeline_for_each_node(shared_cluster: ClusterServers) -> None:
    target = parse_url(shared_cluster.url)
    pipelines: Counter[int] = Counter()

    class CountingNode(Node):
        def __init__(self, address: Address) -> None:
            super().__init__(server_pool(target, address, LONG_TIMEOUT_SECONDS), str(address), LONG_TIMEOUT_SECONDS)
            self._port = address.port

        async def pipeline(self, commands: Sequence[Command], deadline: float) -> list[Any]:
            pipelines[self._port] += 1
            return await super().pipeline(commands, deadline)

    cluster = Cluster(target.addresses, CountingNode, LONG_TIMEOUT_SECONDS)
    await cluster.check()
    store = RedisStore(cluster, events_kept=10)
    users = [f"u{n}" for n in range(60)]
    await append_and_read_all(store, [AppendAndRead(user, V, (new("a"),)) for user in users])
    pipelines.clear()
    await append_and_read_all(store, [AppendAndRead(user, V, (new("b"),)) for user in users])
    assert pipelines == {node.port: 1 for node in shared_cluster.nodes[:3]}
    await store.close()


def owner(cluster: ClusterServers, user_id: str) -> RedisServer:
    """The primary that holds the user."""
    return cluster.nodes[3 * key_slot(keys(user_id)[0].encode()) // 16384]


async def test_one_reachable_node_is_enough_to_start(backend: ClusterBackend, shared_cluster: ClusterServers) -> None:
    replica = shared_cluster.nodes[5]
    for nodes in (f"127.0.0.1:{replica.port}", f"127.0.0.1:1,127.0.0.1:{replica.port}"):
        store = await open_store(f"redis+cluster://{nodes}", 10)
        for n in range(9):
            assert (await append(store, f"{nodes}{n}", new("a"))).sequence == 1
        await store.close()


async def test_eviction_policy_of_any_primary_is_refused(
    backend: ClusterBackend, shared_cluster: ClusterServers
) -> None:
    with Redis(port=shared_cluster.nodes[2].port) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            with pytest.raises(StoreRefusedError, match=f"{client_port(client)} may evict events"):
                await backend.open()
        finally:
            client.config_set("maxmemory-policy", "noeviction")


def client_port(client: Redis) -> int:
    return int(client.connection_pool.connection_kwargs["port"])


async def test_url_scheme_of_another_deployment_is_refused(
    shared_cluster: ClusterServers, shared_redis: RedisServer
) -> None:
    with pytest.raises(StoreRefusedError, match=r"is a node of a cluster; begin the state URL with redis\+cluster"):
        await open_store(shared_cluster.nodes[0].url, 10)
    with pytest.raises(StoreRefusedError, match="is no node of a cluster; begin the state URL with redis://"):
        await open_store(f"redis+cluster://127.0.0.1:{shared_redis.port}", 10)
    with pytest.raises(StoreRefusedError, match="cannot be reached"):
        await open_store("redis+cluster://127.0.0.1:1", 10)


async def test_scripts_are_loaded_again_after_a_flush(
    backend: ClusterBackend, shared_cluster: ClusterServers
) -> None:
    store = await backend.open()
    for node in shared_cluster.nodes[:3]:
        with Redis(port=node.port) as client:
            client.script_flush()
    requests = [AppendAndRead(f"u{n % 10}", V, (new(f"i{n}"),)) for n in range(30)]
    views = await append_and_read_all(store, requests)
    assert [s.appended[0] for s in views] == [Appended(1 + n // 10, False) for n in range(30)]
    backend.check()
    await store.close()


async def test_users_of_a_moving_slot_get_503_or_correct_results(
    backend: ClusterBackend, shared_cluster: ClusterServers
) -> None:
    """Afterwards the users are found on the other node."""
    source, target = shared_cluster.nodes[0], shared_cluster.nodes[1]
    user = next(f"u{n}" for n in range(100) if owner(shared_cluster, f"u{n}") is source)
    slot = key_slot(keys(user)[0].encode())
    store = await backend.open()
    await append(store, user, new("a", "e1"), new("b", "e2"))
    assert await put(store, user, 2, b"snapshot")
    with Redis(port=source.port) as source_client, Redis(port=target.port) as target_client:
        target_client.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", shared_cluster.node_id(source))
        source_client.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", shared_cluster.node_id(target))
        # All keys are still on the source.
        assert (await read(store, user)).snapshot == b"snapshot"
        moved = source_client.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1000)
        first, rest = moved[:1], moved[1:]
        _migrate(source_client, target, first)
        # Some keys are on each side: no script can use all of them, and none does half of its work.
        with pytest.raises(StoreUnavailable, match="moving"):
            await append(store, user, new("c", "e3"))
        _migrate(source_client, target, rest)
        # All keys are on the target, and the source replies ASK.
        assert (await append(store, user, new("c", "e3"))).appended == (Appended(3, False),)
        for client in (target_client, source_client):
            client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", shared_cluster.node_id(target))
        # The target owns the slot, and the source replies MOVED once.
        view = await append(store, user, new("c", "e3"), new("d"))
        assert view.appended == (Appended(3, True), Appended(4, False))
        assert view.snapshot == b"snapshot"
        backend.check()
        await store.close()
        # Move the slot back for the next tests.
        shared_cluster.clear()
        source_client.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", shared_cluster.node_id(target))
        target_client.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", shared_cluster.node_id(source))
        for client in (source_client, target_client):
            client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", shared_cluster.node_id(source))
        shared_cluster.await_healthy()


def _migrate(source: Redis, target: RedisServer, names: list[bytes]) -> None:
    source.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *names)


async def test_planned_failover_fails_no_request(backend: ClusterBackend, shared_cluster: ClusterServers) -> None:
    """The former primary replies MOVED, and refuses WAIT."""
    store = await ClusterBackend(shared_cluster, LONG_TIMEOUT_SECONDS, min_replicas=1).open()
    users = [f"u{n}" for n in range(9)]
    await append_and_read_all(store, [AppendAndRead(user, V, (new("a", "e1"),)) for user in users])
    for replica in (3, 0):  # and back, for the next tests
        shared_cluster.fail_over(shared_cluster.nodes[replica])
        shared_cluster.await_healthy()
        views = await append_and_read_all(
            store, [AppendAndRead(user, V, (new("b", f"after {replica}"),)) for user in users]
        )
        assert {view.appended[0].duplicate for view in views} == {False}
    backend.check()
    await store.close()


async def test_paused_primary_fails_only_its_own_users(
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
        await store.ping()  # users of the other primaries are served
    finally:
        hung.resume()
    async with asyncio.timeout(20):
        while any(isinstance(entry, StoreUnavailable) for entry in entries):
            entries = await store.append_and_read([AppendAndRead(user, V, (new("b", "e2"),)) for user in users])
            await asyncio.sleep(0.02)
    assert {entry.sequence for entry in entries if not isinstance(entry, StoreUnavailable)} == {2}
    backend.check()
    await store.close()
