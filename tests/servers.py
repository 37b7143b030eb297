"""Real servers for tests.

A missing server makes a test fail; no test is skipped.
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from loadtests.environment.processes import free_port

START_SECONDS = 120.0  # a large log on a busy machine takes more than 20


class RedisServer:
    """Context manager of a redis-server that syncs every write to disk.

    `kill` and `start` keep port and folder, so that the server restarts with its data.
    """

    def __init__(self, **options: str) -> None:
        """`options` are options of redis.conf, with _ instead of -."""
        executable = shutil.which("redis-server")
        if executable is None:
            raise RuntimeError("redis-server is not installed; these tests need it")
        self._executable = executable
        self._options = {name.replace("_", "-"): value for name, value in options.items()}
        self._process: subprocess.Popen[bytes] | None = None
        self.folder = Path(tempfile.mkdtemp(prefix="redis-"))
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        shutil.rmtree(self.folder)

    def start(self) -> None:
        """Start the server; return once it has loaded its data."""
        self.launch()
        self.await_start()

    def launch(self) -> None:
        """Start the process without waiting for it."""
        options = {
            "port": self.port,
            "bind": "127.0.0.1",
            "dir": self.folder,
            "logfile": self.folder / "redis.log",
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "maxmemory-policy": "noeviction",
            **self._options,
        }
        command = [self._executable]
        for name, value in options.items():
            command += [f"--{name}", str(value)]
        self._process = subprocess.Popen(command)

    def await_start(self) -> None:
        """Wait until the server answers."""
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                log = (self.folder / "redis.log").read_text()
                raise RuntimeError(f"redis-server did not start:\n{log}")
            time.sleep(0.01)

    def kill(self) -> None:
        """Kill the server by SIGKILL, so that it cannot save anything."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Keep connections open but answer nothing (SIGSTOP)."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


@contextmanager
def empty_log(kind: str, folder: Path) -> Iterator[str]:
    """Yield the state URL of an empty store.

    `kind` is "sqlite", a file in `folder`, or "redis", a server that is removed at the end.
    """
    if kind == "sqlite":
        yield f"sqlite:///{folder}/events.db"
    else:
        with RedisServer() as server:
            yield server.url
