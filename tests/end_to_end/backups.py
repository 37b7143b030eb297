"""Backups of each store, by the commands of docs/operations/backup.md."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import redis

from tests.deployments import SLOTS, ClusterServers, SentinelServers, wait_for
from tests.docs.pages import ROOT, replaced, run_commands, text_under
from tests.servers import RedisServer, free_port

PAGE = ROOT / "docs" / "operations" / "backup.md"
Backup = Callable[[], str]


def run_block(heading: str, number: int, names: Mapping[str, object], folder: Path = ROOT) -> None:
    """Run commands of the page, with `names` replaced."""
    run_commands(replaced(text_under(PAGE, heading, number), names), folder)


@contextmanager
def sqlite(folder: Path) -> Iterator[tuple[str, Backup]]:
    """Yield a state URL, and a backup that returns the copy's."""

    def backup() -> str:
        run_block("SQLite", 0, {".venv": ROOT / ".venv"}, folder)
        return f"sqlite:///{folder}/backup.db"

    yield f"sqlite:///{folder}/recblr.db", backup


@contextmanager
def redis_file(folder: Path) -> Iterator[tuple[str, Backup]]:
    """Do the same for a Redis server, as one file."""
    with RedisServer() as server, RedisServer(appendonly="no") as restored:

        def backup() -> str:
            run_block("Redis, as one file", 0, {"6379": server.port, "/backups": folder})
            restore_file(folder / "dump.rdb", restored)
            return restored.url

        yield server.url, backup


def restore_file(file: Path, restored: RedisServer) -> None:
    """Start a server on a copied `dump.rdb`."""
    restored.kill()
    shutil.copy(file, restored.folder / "dump.rdb")
    restored.start()
    run_block("Redis, as one file", 1, {"6379": restored.port})
    wait_for("its file", lambda: bool(list((restored.folder / "appendonlydir").glob("*.manifest"))))


@contextmanager
def redis_append_only(folder: Path) -> Iterator[tuple[str, Backup]]:
    """Do the same for one Redis server and its append-only files."""
    # Small limits, so that Redis would rewrite its file all the time.
    with RedisServer(auto_aof_rewrite_min_size="64kb") as server, RedisServer() as restored:

        def backup() -> str:
            names = {"6379": server.port, "/backups": folder, "/var/lib/redis": server.folder}
            run_block("Redis, by a copy of its append-only files", 0, names)
            restored.kill()
            shutil.rmtree(restored.folder / "appendonlydir")
            shutil.copytree(folder / "appendonlydir", restored.folder / "appendonlydir")
            restored.start()
            return restored.url

        yield server.url, backup


@contextmanager
def redis_sentinel(folder: Path) -> Iterator[tuple[str, Backup]]:
    """Do the same behind a sentinel."""
    with SentinelServers(sentinels=1) as servers, RedisServer(appendonly="no") as restored:
        port = servers.url.rpartition(":")[2].partition("/")[0]

        def backup() -> str:
            run_block("Sentinel", 0, {"26379": port, "mymaster": servers.SERVICE, "/backups": folder})
            restore_file(folder / "dump.rdb", restored)
            return restored.url

        yield servers.url, backup


@contextmanager
def redis_cluster(folder: Path) -> Iterator[tuple[str, Backup]]:
    """Do the same for a cluster, restored as a new one."""
    with ClusterServers() as servers, RestoredCluster() as restored:

        def backup() -> str:
            copies = folder / "cluster"
            copies.mkdir()
            run_block("Redis Cluster", 0, {"6379": servers.nodes[0].port, "/backups": copies})
            restored.load(copies)
            return restored.url

        yield servers.url, backup


class RestoredCluster:
    """Context manager of a cluster that is started from copies."""

    def __init__(self) -> None:
        self._nodes: list[tuple[RedisServer, int]] = []

    def __enter__(self) -> RestoredCluster:
        return self

    def __exit__(self, *error: object) -> None:
        for node, _ in self._nodes:
            node.__exit__(None, None, None)

    @property
    def url(self) -> str:
        return f"redis+cluster://127.0.0.1:{self._nodes[0][0].port}"

    def load(self, copies: Path) -> None:
        """Start a server on each copy, and let them meet."""
        nodes: list[dict[str, Any]] = json.loads((copies / "nodes.json").read_text())
        for primary in (node for node in nodes if node["slots"]):
            [file] = copies.glob(f"*-{primary['name']}.rdb")
            bus = free_port()
            node = RedisServer(cluster_enabled="yes", cluster_port=str(bus), appendonly="no")
            shutil.copy(file, node.folder / "dump.rdb")
            self._nodes.append((node, bus))
            node.start()
            with closing(redis.Redis(port=node.port)) as client:
                claimed = slots_in(client.execute_command("CLUSTER", "SLOTS"))
                client.execute_command("CLUSTER", "ADDSLOTS", *(slots_in(primary["slots"]) - claimed))
        for node, _ in self._nodes[1:]:
            with closing(redis.Redis(port=node.port)) as client:
                client.execute_command("CLUSTER", "MEET", "127.0.0.1", self._nodes[0][0].port, self._nodes[0][1])
        wait_for("the restored cluster", lambda: all(self._is_whole(node) for node, _ in self._nodes))

    @staticmethod
    def _is_whole(node: RedisServer) -> bool:
        with closing(redis.Redis(port=node.port, decode_responses=True)) as client:
            state = client.cluster("INFO")
            client.config_set("appendonly", "yes")
            return bool(state["cluster_state"] == "ok" and state["cluster_slots_ok"] == str(SLOTS))


def slots_in(ranges: Iterable[Sequence[Any]]) -> set[int]:
    return {slot for first, last, *_ in ranges for slot in range(first, last + 1)}
