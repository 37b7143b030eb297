"""Redis servers that are killed during a measurement."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from loadtests.environment.processes import free_port
from loadtests.environment.servers import RedisSettings, wait_until

_SERVICE = "mymaster"
_START_SECONDS, _FAILOVER_SECONDS = 60.0, 30.0
_DOWN_AFTER_MS, _FAILOVER_TIMEOUT_MS = 1000, 5000


class FaultyStore(NamedTuple):
    """A store and its fault.

    Attributes:
        url: As in `RECBLR_STATE_URL`.
        fault: Breaks the store; returns when it can be used again.
    """

    url: str
    fault: Callable[[], None]


class _Redis:
    """A redis-server that keeps its port and folder when it is killed."""

    def __init__(self, stack: ExitStack, settings: RedisSettings, **options: str) -> None:
        self.port = free_port()
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="loadtest-redis-"))
        named = {name.replace("_", "-"): value for name, value in options.items()}
        given = {"port": str(self.port), "dir": folder, "logfile": f"{folder}/log", **settings.options(), **named}
        self._command = ["redis-server", *(word for name, value in given.items() for word in (f"--{name}", value))]
        stack.callback(self.kill)
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command)
        wait_until("redis-server to answer", lambda: self.ask("PING") == "PONG", _START_SECONDS)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def restart(self) -> None:
        """Kill the server by SIGKILL, and start it on its append-only file."""
        self.kill()
        self.start()

    def ask(self, *words: str) -> str:
        """Run a command of redis-cli."""
        command = ["redis-cli", "-p", str(self.port), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    def is_primary(self) -> bool:
        return "role:master" in self.ask("INFO", "replication")


@contextmanager
def killed_redis(settings: RedisSettings) -> Iterator[FaultyStore]:
    """Run a Redis server whose fault is `kill -9` and a restart."""
    with ExitStack() as stack:
        server = _Redis(stack, settings)
        yield FaultyStore(f"redis://127.0.0.1:{server.port}/0", server.restart)


@contextmanager
def failing_over(settings: RedisSettings) -> Iterator[FaultyStore]:
    """Run a primary, its replica and three sentinels.

    The fault is `kill -9` of the primary. It starts again as the replica.
    """
    with ExitStack() as stack:
        primary = _Redis(stack, settings, repl_diskless_sync_delay="0")
        replica = _Redis(stack, settings, repl_diskless_sync_delay="0", replicaof=f"127.0.0.1 {primary.port}")
        wait_until("the replica to be in sync", lambda: "state=online" in primary.ask("INFO", "replication"), 60.0)
        ports = [_sentinel(stack, primary.port) for _ in range(3)]

        def fail_over() -> None:
            primary.kill()
            wait_until("the promotion of the replica", replica.is_primary, _FAILOVER_SECONDS)
            primary.start()

        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        yield FaultyStore(f"redis+sentinel://{hosts}/{_SERVICE}", fail_over)


def _sentinel(stack: ExitStack, primary: int) -> int:
    """Start a sentinel, and wait until it knows the replica."""
    folder, port = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="loadtest-sentinel-"))), free_port()
    (folder / "sentinel.conf").write_text(
        f"port {port}\nbind 127.0.0.1\ndir {folder}\nlogfile {folder}/log\n"
        f"sentinel monitor {_SERVICE} 127.0.0.1 {primary} 2\n"
        f"sentinel down-after-milliseconds {_SERVICE} {_DOWN_AFTER_MS}\n"
        f"sentinel failover-timeout {_SERVICE} {_FAILOVER_TIMEOUT_MS}\n"
    )
    process = subprocess.Popen(["redis-server", str(folder / "sentinel.conf"), "--sentinel"])
    stack.callback(process.wait)
    stack.callback(process.kill)
    ask = ["redis-cli", "-p", str(port), "SENTINEL", "REPLICAS", _SERVICE]

    def knows_replica() -> bool:
        return "slave" in subprocess.run(ask, capture_output=True, text=True, check=False).stdout

    wait_until("a sentinel to know the replica", knows_replica, _START_SECONDS)
    return port
