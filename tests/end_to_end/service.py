"""The real service as a process, and a client of its API."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
import psutil

from tests.servers import free_port

ROOT = Path(__file__).parents[2]
KEY = "a-key-for-the-tests-alone"
START_SECONDS = 300.0  # the first start in a checkout compiles the engine: 111 s on a busy machine


class RunningService:
    """Context manager that runs `python -m service` on a free port.

    It returns once the service is ready. `sources` are those of another release, if given.
    """

    def __init__(self, folder: Path, state_url: str, bundles: Path, *, sources: Path = ROOT, **settings: str) -> None:
        port = free_port()
        self._sources = sources
        self.url = f"http://127.0.0.1:{port}"
        self._log = folder / "service.log"
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RECBLR_")},
            "RECBLR_PORT": str(port),
            "RECBLR_STATE_URL": state_url,
            "RECBLR_BUNDLE": str(bundles),
            "RECBLR_API_KEYS": KEY,
            **settings,
        }
        self.bundles = bundles
        self._client = httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=10.0)

    def __enter__(self) -> RunningService:
        self.start()
        return self

    def start(self) -> None:
        """Start the service; return once it is ready."""
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "service"],
                cwd=self._sources,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self.ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                raise RuntimeError(f"the service did not start:\n{self._log.read_text()}")
            time.sleep(0.05)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()
        self.stop()

    def stop(self) -> int:
        """Stop the service by SIGTERM; return its exit code."""
        self._process.terminate()
        return self._process.wait(timeout=60)

    def freeze(self) -> None:
        """Stop the process and its workers by SIGSTOP."""
        os.killpg(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Continue after `freeze`."""
        os.killpg(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Kill the process and its workers by SIGKILL, also when frozen."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(timeout=60)

    @property
    def pid(self) -> int:
        """Process id of the main process."""
        return self._process.pid

    def workers(self) -> list[int]:
        """Return the process ids of the workers of a service with several."""
        children = psutil.Process(self._process.pid).children(recursive=True)
        return [child.pid for child in children if _is_worker(child)]

    def fork_servers(self) -> list[int]:
        """Return the process ids of the process that forks the workers."""
        children = psutil.Process(self._process.pid).children()
        return [child.pid for child in children if _is_fork_server(child)]

    def connections(self) -> int:
        """Count client connections, also those the client has closed."""
        port = int(self.url.rpartition(":")[2])
        sockets = psutil.Process(self._process.pid).net_connections("tcp")
        states = [socket.status for socket in sockets if socket.laddr.port == port]
        return sum(state in (psutil.CONN_ESTABLISHED, psutil.CONN_CLOSE_WAIT) for state in states)

    def log(self) -> str:
        """Return the log written since the start."""
        return self._log.read_text()

    def memory(self) -> int:
        """Return the resident bytes of the main process, without its workers."""
        return int(psutil.Process(self._process.pid).memory_info().rss)

    def metrics(self) -> str:
        """Return the metrics page."""
        return self._client.get("/metrics").text

    def metric(self, name: str) -> float:
        """Return the sum of a metric over its labels."""
        samples = [line.rpartition(" ") for line in self.metrics().splitlines() if not line.startswith("#")]
        return sum(float(value) for sample, _, value in samples if sample.partition("{")[0] == name)

    def ready(self) -> bool:
        """Return whether /readyz is up."""
        try:
            return self._client.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def get(self, path: str, **parameters: object) -> Any:
        """GET `path`; return the JSON of the response, which must be 200."""
        answer = self._client.get(f"/v1{path}", params={name: str(value) for name, value in parameters.items()})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def event_ids(self, user: str) -> list[str]:
        """Return the ids of a user's kept events, the oldest first."""
        return [event["event_id"] for event in self.get(f"/users/{user}/events", limit=1000)["events"]]

    def post(self, path: str, body: object) -> Any:
        """POST `body`; return the JSON of the response, which must be 200."""
        answer = self._client.post(f"/v1{path}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def put(self, path: str, body: object) -> Any:
        """PUT `body`; return the JSON of the response, which must be 200."""
        answer = self._client.put(f"/v1{path}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def delete(self, path: str) -> None:
        """DELETE `path`, which must succeed."""
        answer = self._client.delete(f"/v1{path}")
        assert answer.is_success, answer.text


def _is_worker(process: psutil.Process) -> bool:
    try:
        parent = process.parent()
        return parent is not None and _is_fork_server(parent)
    except psutil.Error:  # it has ended, or is about to
        return False


def _is_fork_server(process: psutil.Process) -> bool:
    # A forked worker has the command of its fork server, so the grandparent decides.
    try:
        parent = process.parent()
        named = any("multiprocessing.forkserver" in word for word in process.cmdline())
        return named and parent is not None and not any("multiprocessing" in word for word in parent.cmdline())
    except psutil.Error:
        return False
