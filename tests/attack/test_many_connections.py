"""Thousands of silent and slow connections, with few descriptors and with plenty."""

from __future__ import annotations

import resource
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from service.api.connection.limits import max_connections
from tests.attack.raw_server import head, read_answer

ROOT = Path(__file__).parents[2]
SILENT, SLOW, PLENTY, FEW = 2_000, 300, 8_192, 256
SECONDS = 60  # for all of them to be closed; the limits of the server are a second


@contextmanager
def limited_server(descriptors: int) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    command = ["sh", "-c", f'ulimit -n {descriptors} && exec "$@"', "sh", sys.executable, "-m"]
    with subprocess.Popen(
        [*command, "tests.attack.limited_server"],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            yield int(line), process
        except BaseException:
            process.kill()  # with clients that are still connected it would wait for them
            raise


@pytest.fixture(autouse=True)
def _own_descriptors() -> Iterator[None]:
    """Allow this process the sockets of all clients."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = SILENT + SLOW + 500
    if hard not in (resource.RLIM_INFINITY,) and hard < max(wanted, PLENTY):
        pytest.skip(f"the hard limit of open files is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def drip(clients: list[socket.socket], stop: threading.Event) -> None:
    """Send a byte on each connection now and then."""
    while not stop.wait(0.2):
        for client in clients:
            with suppress(OSError):
                client.send(b"a")


def wait_until_closed(clients: list[socket.socket]) -> int:
    """Return how many connections are still open when the time is over."""
    deadline = time.monotonic() + SECONDS
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client, selectors.EVENT_READ)
        while selector.get_map() and time.monotonic() < deadline:
            for key, _ in selector.select(0.5):
                client = key.fileobj
                assert isinstance(client, socket.socket)
                try:
                    ended = not client.recv(65536)
                except BlockingIOError:
                    continue
                except OSError:
                    ended = True
                if ended:
                    selector.unregister(client)
        return len(selector.get_map())


@pytest.mark.parametrize("descriptors", [FEW, PLENTY])
def test_others_are_served_and_all_silent_and_slow_connections_are_closed(descriptors: int) -> None:
    clients: list[socket.socket] = []
    stop = threading.Event()
    began = time.monotonic()
    with limited_server(descriptors) as (port, process):
        kept = socket.create_connection(("127.0.0.1", port), timeout=30)
        for number in range(SILENT + SLOW):
            client = socket.create_connection(("127.0.0.1", port), timeout=30)
            client.setblocking(False)
            clients.append(client)
            if number >= SILENT:
                with suppress(OSError):  # closed already
                    client.send(head("POST", "/", "content-length: 100000"))
            if number % 100 == 0:  # an ordinary client, with a connection that it keeps
                kept.sendall(head("GET", "/"))
                assert read_answer(kept)[0] == 200
        dripping = threading.Thread(target=drip, args=(clients[SILENT:], stop))
        dripping.start()
        try:
            for _ in range(50):  # ordinary clients with new connections
                with socket.create_connection(("127.0.0.1", port), timeout=30) as other:
                    other.sendall(head("GET", "/"))
                    assert read_answer(other)[0] == 200
            assert len(list(Path(f"/proc/{process.pid}/fd").iterdir())) < descriptors
            assert wait_until_closed(clients) == 0
        finally:
            stop.set()
            dripping.join()
        with socket.create_connection(("127.0.0.1", port), timeout=30) as other:
            other.sendall(head("GET", "/"))
            assert read_answer(other)[0] == 200
        seconds = time.monotonic() - began
        log = process.communicate(timeout=60)[1]
    for client in (kept, *clients):
        client.close()
    limit = max_connections(descriptors)
    counts = Counter(log.splitlines())
    assert set(counts) <= {f"slow connection closed limit={limit}", f"connection refused limit={limit}"}
    assert counts[f"slow connection closed limit={limit}"] >= 1
    assert max(counts.values()) <= seconds + 2
