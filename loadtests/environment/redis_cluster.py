"""Redis Cluster of several primaries on free local ports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from redis import Redis

from loadtests.environment.processes import free_port
from loadtests.environment.servers import RedisServer, RedisSettings, redis_server, wait_until

PRIMARIES = 3
_SLOTS = 16384
_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class RedisCluster:
    """A running cluster."""

    nodes: tuple[RedisServer, ...]

    @property
    def url(self) -> str:
        """Address of the cluster, as in `RECBLR_STATE_URL`."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)


@contextmanager
def redis_cluster(settings: RedisSettings, primaries: int = PRIMARIES) -> Iterator[RedisCluster]:
    """Run an empty cluster of primaries without replicas.

    Raises:
        ServerError: a server did not start, or they did not find each other.
    """
    with ExitStack() as stack:
        buses = [free_port() for _ in range(primaries)]
        nodes = tuple(
            stack.enter_context(redis_server(settings, {"cluster-enabled": "yes", "cluster-port": str(bus)}))
            for bus in buses
        )
        clients = [stack.enter_context(Redis(port=node.port)) for node in nodes]
        for number, client in enumerate(clients):
            first, last = number * _SLOTS // primaries, (number + 1) * _SLOTS // primaries - 1
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            client.execute_command("CLUSTER", "MEET", "127.0.0.1", nodes[0].port, buses[0])
        wait_until(
            "the nodes of the Redis Cluster to find each other",
            lambda: all(_is_healthy(client, primaries) for client in clients),
            _TIMEOUT_SECONDS,
        )
        yield RedisCluster(nodes)


def _is_healthy(client: Redis, nodes: int) -> bool:
    info = client.cluster("INFO")
    return bool(info["cluster_state"] == "ok" and int(info["cluster_known_nodes"]) == nodes)
