"""Creation of the deployment that a URL names."""

from __future__ import annotations

from service.store.redis.deployments.cluster import Cluster
from service.store.redis.deployments.deployment import Deployment
from service.store.redis.deployments.node import Node
from service.store.redis.deployments.pools import primary_pool, server_pool
from service.store.redis.deployments.url import Address, Target


def create_deployment(target: Target, min_replicas: int, timeout_seconds: float) -> Deployment:
    """Return the deployment; nothing is connected yet."""

    def node(address: Address) -> Node:
        return Node(
            server_pool(target, address, timeout_seconds), f"Redis at {address}", timeout_seconds, min_replicas
        )

    if target.kind == "cluster":
        return Cluster(target.addresses, node, timeout_seconds)
    if target.kind == "sentinel":
        name = f"the Redis primary {target.service}"
        return Node(primary_pool(target, timeout_seconds), name, timeout_seconds, min_replicas)
    return node(target.addresses[0])
