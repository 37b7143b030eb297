"""Deployments of several real Redis servers: a cluster, and sentinels."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from redis import Redis

from tests.servers import RedisServer, free_port

SLOTS = 16384


def wait_for(what: str, holds: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until `holds()` is true; fail with `what` after a timeout."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited {seconds} s for {what}")
        time.sleep(0.02)


def in_sync(primary: RedisServer) -> bool:
    """Return whether a replica is in sync and answers immediately."""
    with Redis(port=primary.port) as client:
        state = client.info("replication").get("slave0", {})
        client.publish("nobody", "")  # something to replicate, or WAIT counts a replica that has not started
        return state.get("state") == "online" and int(client.wait(1, 500)) >= 1


def info(server: RedisServer, section: str) -> dict[str, Any]:
    with Redis(port=server.port) as client:
        return client.info(section)


class Deployment:
    """Context manager of servers, which stop if one fails to start."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _start(self) -> None:
        raise NotImplementedError


class ClusterServers(Deployment):
    """Context manager of a cluster of three primaries with a replica each.

    Every write is synced to disk.
    """

    def __init__(self, node_timeout_ms: int = 2000) -> None:
        self.node_timeout_ms = node_timeout_ms
        self.nodes: list[RedisServer] = []
        self._bus: dict[int, int] = {}
        super().__init__()

    @property
    def url(self) -> str:
        # Two of the nodes: a client must find the others by itself.
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[:2])

    def add(self) -> RedisServer:
        """Start another server that is not in the cluster yet."""
        bus = free_port()
        node = RedisServer(
            cluster_enabled="yes",
            cluster_config_file="nodes.conf",
            cluster_port=str(bus),
            cluster_node_timeout=str(self.node_timeout_ms),
            cluster_require_full_coverage="no",  # serve the other users while a primary is down
            repl_diskless_sync_delay="0",
            repl_ping_replica_period="1",
        )
        self._bus[node.port] = bus
        self._stack.callback(node.__exit__, None, None, None)
        node.launch()
        self.nodes.append(node)
        return node

    def meet(self, node: RedisServer) -> None:
        """Add `node` to the cluster."""
        with Redis(port=node.port) as client:
            first = self.nodes[0].port
            client.execute_command("CLUSTER", "MEET", "127.0.0.1", first, self._bus[first])

    def node_id(self, node: RedisServer) -> str:
        with Redis(port=node.port, decode_responses=True) as client:
            return str(client.execute_command("CLUSTER", "MYID"))

    def _start(self) -> None:
        for _ in range(6):
            self.add()
        for node in self.nodes:
            node.await_start()
        primaries, replicas = self.nodes[:3], self.nodes[3:]
        for number, node in enumerate(primaries):
            with Redis(port=node.port) as client:
                first, last = SLOTS * number // 3, SLOTS * (number + 1) // 3 - 1
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        wait_for("every node to know every other", self._all_connected)
        for primary, replica in zip(primaries, replicas, strict=True):
            with Redis(port=replica.port) as client:
                client.execute_command("CLUSTER", "REPLICATE", self.node_id(primary))
        self.await_healthy()

    def await_healthy(self) -> None:
        """Wait until every node serves and every replica is in sync."""
        wait_for("the cluster to be healthy", lambda: all(self._is_healthy(node) for node in self.nodes))
        primaries = [node for node in self.nodes if info(node, "replication")["role"] == "master"]
        wait_for("replicas to be in sync", lambda: all(map(in_sync, primaries)))

    def _all_connected(self) -> bool:
        # On a busy machine a handshake may time out, and Redis does not repeat it.
        unconnected = [node for node in self.nodes[1:] if self._known_nodes(node) < 2]
        for node in unconnected:
            self.meet(node)
        time.sleep(0.2)
        return not unconnected and all(self._known_nodes(node) == len(self.nodes) for node in self.nodes)

    def _known_nodes(self, node: RedisServer) -> int:
        with Redis(port=node.port, decode_responses=True) as client:
            return int(client.cluster("INFO")["cluster_known_nodes"])

    def _is_healthy(self, node: RedisServer) -> bool:
        with Redis(port=node.port, decode_responses=True) as client:
            state = client.cluster("INFO")
            replication = client.info("replication")
            ranges = client.execute_command("CLUSTER", "SLOTS")
        linked = replication["role"] == "master" or replication["master_link_status"] == "up"
        # A primary votes only for servers that it knows as replicas.
        known = all(len(servers) == 2 for _, _, *servers in ranges)
        return bool(state["cluster_state"] == "ok" and state["cluster_slots_ok"] == str(SLOTS) and linked and known)

    def fail_over(self, replica: RedisServer) -> None:
        """Make `replica` the primary by a planned failover."""
        with Redis(port=replica.port) as client:
            client.execute_command("CLUSTER", "FAILOVER")
        wait_for("the replica to take over", lambda: info(replica, "replication")["role"] == "master")

    def clear(self) -> None:
        """Delete all data and scripts on every primary."""
        for node in self.nodes:
            with Redis(port=node.port) as client:
                if client.info("replication")["role"] == "master":
                    client.flushall()


class SentinelServers(Deployment):
    """Context manager of a primary, its replica and their sentinels."""

    SERVICE = "mymaster"

    def __init__(self, down_after_ms: int = 1000, failover_timeout_ms: int = 5000, sentinels: int = 3) -> None:
        """Configure the sentinels.

        A replica that follows the primary by another address is left alone for `failover_timeout_ms`. Sentinels that
        could not agree on a leader retry after twice that time; a single sentinel always agrees.
        """
        self._sentinels = sentinels
        self._down_after_ms = down_after_ms
        self._failover_timeout_ms = failover_timeout_ms
        self._ports: list[int] = []
        super().__init__()

    def _start(self) -> None:
        no_delay = {"repl_diskless_sync_delay": "0"}
        self.primary = self._stack.enter_context(RedisServer(**no_delay))
        self.replica = self._stack.enter_context(RedisServer(replicaof=f"127.0.0.1 {self.primary.port}", **no_delay))
        wait_for("the replica to be in sync", lambda: in_sync(self.primary))
        for _ in range(self._sentinels):
            self._ports.append(self._sentinel())
        wait_for("the sentinels to agree", lambda: all(map(self._ready, self._ports)))

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self._ports)
        return f"redis+sentinel://{hosts}/{self.SERVICE}"

    def _sentinel(self) -> int:
        folder = Path(tempfile.mkdtemp(prefix="sentinel-"))
        self._stack.callback(shutil.rmtree, folder)
        port = free_port()
        name = self.SERVICE
        (folder / "sentinel.conf").write_text(
            f"port {port}\nbind 127.0.0.1\ndir {folder}\nlogfile {folder}/log\n"
            f"sentinel monitor {name} 127.0.0.1 {self.primary.port} {self._sentinels // 2 + 1}\n"
            f"sentinel down-after-milliseconds {name} {self._down_after_ms}\n"
            f"sentinel failover-timeout {name} {self._failover_timeout_ms}\n"
        )
        process = subprocess.Popen(["redis-server", str(folder / "sentinel.conf"), "--sentinel"])
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return port

    def _ready(self, port: int) -> bool:
        try:
            with Redis(port=port, decode_responses=True) as client:
                state: Any = client.sentinel_master(self.SERVICE)
                return int(state["num-other-sentinels"]) == self._sentinels - 1 and int(state["num-slaves"]) == 1
        except (OSError, KeyError):
            return False
