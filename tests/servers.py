"""Real servers for tests. What is missing makes a test fail, never skip."""

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

START_SECONDS = 20.0


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RedisServer:
    """A redis-server of its own that syncs every write to disk; a context manager.

    It keeps its port and its folder over `kill` and `start`, so that a restart meets its own data.
    """

    def __init__(self, **options: str) -> None:
        """`options` are lines of redis.conf, with _ for each -."""
        executable = shutil.which("redis-server")
        if executable is None:
            raise RuntimeError("redis-server is not installed, and the store's tests need a real one")
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
        """Return once the server answers and has loaded its data."""
        self.launch()
        self.await_start()

    def launch(self) -> None:
        """Start the process, and do not wait for it."""
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
        """Return once the server answers."""
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                log = (self.folder / "redis.log").read_text()
                raise RuntimeError(f"redis-server did not start:\n{log}")
            time.sleep(0.01)

    def kill(self) -> None:
        """kill -9: the server gets no chance to save anything."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Let connections stand but answer nothing."""
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
    """The state URL of an empty store: "sqlite", a file in `folder`, or "redis", a server that goes at the end."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/events.db"
    else:
        with RedisServer() as server:
            yield server.url
