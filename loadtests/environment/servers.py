"""Servers under test: separate processes on free local ports, stopped on exit."""

from __future__ import annotations

import http.client
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

from loadtests.environment.processes import cpu_seconds, free_port, process_tree

ROOT = Path(__file__).parents[2]
DEMO_BUNDLE = ROOT / "bundles" / "ml-1m-demo"
START_TIMEOUT_SECONDS = 180.0
_STOP_TIMEOUT_SECONDS = 15.0
IDLE_CORES_OF_A_WORKER = 0.1


class ServerError(Exception):
    """A server did not start, or failed a request that must succeed."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: its port and its top process."""

    port: int
    pid: int


@dataclass(frozen=True, slots=True)
class RedisServer(Server):
    """A running Redis server."""

    @property
    def url(self) -> str:
        """Address of its database 0, as in `RECBLR_STATE_URL`."""
        return f"redis://127.0.0.1:{self.port}/0"


@dataclass(frozen=True, slots=True)
class RedisSettings:
    """Durability of a Redis server.

    `fsync` is `always` (before each answer), `everysec`, or `no` for no append-only file at all.
    """

    fsync: str = "always"

    def options(self) -> dict[str, str]:
        """Return the server's options except port and folder."""
        log = {"appendonly": "no"} if self.fsync == "no" else {"appendonly": "yes", "appendfsync": self.fsync}
        as_in_compose_file = {"maxmemory-policy": "noeviction", "auto-aof-rewrite-min-size": "1gb"}
        return {"bind": "127.0.0.1", "save": "", **as_in_compose_file, **log}


def start_timeout_seconds(items: int) -> float:
    """Return the start timeout for a catalogue of this size.

    Each worker indexes the items. The check before them does not.
    """
    return START_TIMEOUT_SECONDS + 1e-4 * items


@contextmanager
def redis_server(settings: RedisSettings, more_options: Mapping[str, str] | None = None) -> Iterator[RedisServer]:
    """Run a Redis server with an empty data folder.

    `more_options` are of its configuration.
    """
    executable = shutil.which("redis-server")
    if executable is None:
        raise ServerError("cannot find redis-server on the PATH; install it with the system's package manager")
    with tempfile.TemporaryDirectory(prefix="loadtest-redis-") as folder:
        port = free_port()
        options = {"port": str(port), "dir": folder, **settings.options(), **(more_options or {})}
        command = [executable, *(word for name, value in options.items() for word in (f"--{name}", value))]
        with _run_process("redis", command, {}) as started:
            _wait_until_ready(started, lambda: _redis_is_ready(port), START_TIMEOUT_SECONDS)
            yield RedisServer(port, started.process.pid)


@contextmanager
def recblr_server(
    state_url: str,
    bundle: Path,
    *,
    workers: int = 1,
    settings: Mapping[str, str] | None = None,
    timeout_seconds: float = START_TIMEOUT_SECONDS,
) -> Iterator[Server]:
    """Run `python -m service` until the block ends.

    Args:
        state_url: the store.
        bundle: the bundle or the model registry to serve.
        workers: worker processes.
        settings: further `RECBLR_...` variables.
        timeout_seconds: limit of the start.
    """
    port = free_port()
    environment = {
        "RECBLR_PORT": str(port),
        "RECBLR_STATE_URL": state_url,
        "RECBLR_BUNDLE": str(bundle),
        "RECBLR_WORKERS": str(workers),
        "RECBLR_LOG_LEVEL": "warning",
        **(settings or {}),
    }
    command = [sys.executable, "-m", "service"]
    with http_server("recblr", command, environment, port, "/readyz", timeout_seconds) as server:
        if workers > 1:  # the first worker to be ready has answered /readyz
            _wait_until_idle(server, workers, timeout_seconds)
        yield server


@contextmanager
def http_server(
    name: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    port: int,
    ready_path: str,
    timeout_seconds: float = START_TIMEOUT_SECONDS,
) -> Iterator[Server]:
    """Run an HTTP server that is ready when GET `ready_path` answers 200.

    Args:
        name: the server's name in error messages.
        command: the command line.
        environment: variables to add to this process's own, without its `RECBLR_...` ones.
        port: the port that the command listens on.
        ready_path: path of the readiness check.
        timeout_seconds: limit of the start.

    Raises:
        ServerError: the server ended, or was not ready in time; the message holds the end of its log.
    """
    with _run_process(name, command, environment) as started:
        _wait_until_ready(started, lambda: _status(port, ready_path) == http.client.OK, timeout_seconds)
        yield Server(port, started.process.pid)


@dataclass(frozen=True, slots=True)
class _StartedProcess:
    name: str
    process: subprocess.Popen[bytes]
    log: Path


@contextmanager
def _run_process(name: str, command: Sequence[str], environment: Mapping[str, str]) -> Iterator[_StartedProcess]:
    # The caller's own RECBLR_ settings must not reach the server under test.
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("RECBLR_")}
    with tempfile.TemporaryDirectory(prefix="loadtest-log-") as folder:
        log = Path(folder) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                list(command), cwd=ROOT, env={**inherited, **environment}, stdout=output, stderr=output
            )
        try:
            yield _StartedProcess(name, process, log)
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Terminate a process, kill it after a timeout, and kill its descendants."""
    _, *descendants = process_tree(process.pid)
    process.terminate()
    try:
        process.wait(timeout=_STOP_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pid in descendants:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def wait_until(what: str, holds: Callable[[], bool], timeout_seconds: float) -> None:
    """Wait for a condition; raise `ServerError` after the timeout."""
    deadline = time.monotonic() + timeout_seconds
    while not holds():
        if time.monotonic() > deadline:
            raise ServerError(f"waited {timeout_seconds:g} s for {what}")
        time.sleep(0.02)


def _wait_until_ready(started: _StartedProcess, is_ready: Callable[[], bool], timeout_seconds: float) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not is_ready():
        if started.process.poll() is not None or time.monotonic() > deadline:
            log_end = started.log.read_text(errors="replace")[-3000:]
            raise ServerError(f"cannot start {started.name}:\n{log_end}")
        time.sleep(0.05)


def _wait_until_idle(server: Server, workers: int, timeout_seconds: float) -> None:
    """Wait until the workers hardly use CPU.

    All have then loaded the model, and only poll for changes.
    """
    deadline = time.monotonic() + timeout_seconds
    spent = cpu_seconds(process_tree(server.pid))
    while time.monotonic() < deadline:
        time.sleep(1.0)
        before, spent = spent, cpu_seconds(process_tree(server.pid))
        if spent - before < IDLE_CORES_OF_A_WORKER * workers:
            return
    raise ServerError(f"workers were still busy {timeout_seconds:g} s after the start")


def _redis_is_ready(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def _status(port: int, path: str) -> int:
    """Return the status of a GET, or 0 without an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
