"""A cluster for load tests."""

from __future__ import annotations

from redis import RedisCluster as Client

from loadtests.environment.redis_cluster import redis_cluster
from loadtests.environment.servers import RedisSettings


def test_cluster_of_three_primaries_holds_all_slots() -> None:
    with redis_cluster(RedisSettings("no")) as cluster:
        assert cluster.url == "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in cluster.nodes)
        with Client(host="127.0.0.1", port=cluster.nodes[0].port) as client:
            for n in range(50):
                client.set(f"key-{n}", n)
            assert [int(client.get(f"key-{n}") or -1) for n in range(50)] == list(range(50))
            assert len(client.get_primaries()) == 3
            assert all(client.dbsize(target_nodes=node) > 0 for node in client.get_primaries())
