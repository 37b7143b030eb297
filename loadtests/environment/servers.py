"""The servers under test, each a process of its own on a free port of 127.0.0.1, stopped when its block ends."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from loadtests.environment.processes import cpu_seconds, descendants
from loadtests.generator.http_client import Connection, make_request

ROOT = Path(__file__).parents[2]
START_SECONDS = 180.0


class ServerFailed(Exception):
    """A server did not start; the message has the end of its log."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: where it listens, and the process at the top of its tree."""

    port: int
    pid: int


@dataclass(frozen=True, slots=True)
class RedisSettings:
    """How the run's Redis writes its log: `always` before each answer, `everysec`, or `no` log at all."""

    fsync: str = "always"

    def options(self) -> dict[str, str]:
        """The server's options but for port and folder."""
        log = {"appendonly": "no"} if self.fsync == "no" else {"appendonly": "yes", "appendfsync": self.fsync}
        as_composed = {"maxmemory-policy": "noeviction", "auto-aof-rewrite-min-size": "1gb"}
        return {"bind": "127.0.0.1", "save": "", **as_composed, **log}


def start_seconds(items: int) -> float:
    """How long a start with so many items may take: they are indexed to check the bundle, then to serve it."""
    return START_SECONDS + 1e-4 * items


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def redis_server(settings: RedisSettings) -> Iterator[Server]:
    """A Redis of the run's own, with an empty folder."""
    executable = shutil.which("redis-server")
    if executable is None:
        raise ServerFailed("there is no redis-server on the PATH: install it with your system's package manager")
    with tempfile.TemporaryDirectory(prefix="loadtest-redis-") as folder:
        port = free_port()
        options = {"port": str(port), "dir": folder, **settings.options()}
        command = [executable, *(word for name, value in options.items() for word in (f"--{name}", value))]
        with _process("redis", command, {}, port) as process:
            _await(process, lambda: _pongs(port))
            yield Server(port, process.process.pid)


@contextmanager
def recblr(
    redis: Server,
    bundle: Path,
    *,
    workers: int = 1,
    settings: Mapping[str, str] | None = None,
    seconds: float = START_SECONDS,
) -> Iterator[Server]:
    """`python -m service` on `redis`, ready within so many seconds."""
    port = free_port()
    environment = {
        "RECBLR_PORT": str(port),
        "RECBLR_STATE_URL": f"redis://127.0.0.1:{redis.port}/0",
        "RECBLR_BUNDLE": str(bundle),
        "RECBLR_WORKERS": str(workers),
        "RECBLR_LOG_LEVEL": "warning",
        **(settings or {}),
    }
    command = [sys.executable, "-m", "service"]
    with http_server("recblr", command, environment, port, "/readyz", seconds) as server:
        if workers > 1:  # the first that was ready has answered for all
            _settle(server, seconds)
        yield server


def _settle(server: Server, seconds: float) -> None:
    """Wait until the server's processes are at rest: each loads the model for itself."""
    deadline = time.monotonic() + seconds
    spent = cpu_seconds(descendants(server.pid))
    while time.monotonic() < deadline:
        time.sleep(1.0)
        before, spent = spent, cpu_seconds(descendants(server.pid))
        if spent - before < 0.1:
            return
    raise ServerFailed("the workers did not come to rest")


@contextmanager
def http_server(
    name: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    port: int,
    ready: str,
    seconds: float = START_SECONDS,
) -> Iterator[Server]:
    """Any HTTP server, once GET `ready` answers 200."""
    with _process(name, command, environment, port) as process:
        _await(process, lambda: _get(port, ready) == 200, seconds)
        yield Server(port, process.process.pid)


@dataclass(frozen=True, slots=True)
class _Started:
    name: str
    process: subprocess.Popen[bytes]
    log: Path


@contextmanager
def _process(name: str, command: Sequence[str], environment: Mapping[str, str], port: int) -> Iterator[_Started]:
    # What the caller has set for a service of its own must not reach this one.
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("RECBLR_")}
    with tempfile.TemporaryDirectory(prefix="loadtest-log-") as folder:
        log = Path(folder) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                list(command), cwd=ROOT, env={**inherited, **environment}, stdout=output, stderr=output
            )
        try:
            yield _Started(name, process, log)
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask to end, then insist, the process and all that it started."""
    family = descendants(process.pid)
    process.terminate()
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pid in family[1:]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _await(started: _Started, ready: Callable[[], bool], seconds: float = START_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        if started.process.poll() is not None or time.monotonic() > deadline:
            end = started.log.read_text(errors="replace")[-3000:]
            raise ServerFailed(f"{started.name} did not start:\n{end}")
        time.sleep(0.05)


def _pongs(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def _get(port: int, path: str) -> int:
    try:
        connection = Connection(port)
    except OSError:
        return 0
    try:
        return connection.ask(make_request("ready", "GET", path).raw)[0]
    except OSError:
        return 0
    finally:
        connection.close()
