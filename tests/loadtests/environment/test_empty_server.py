"""The control of the scenario of attacks."""

from __future__ import annotations

import socket
import sys

from loadtests.environment.empty_server import READY_PATH
from loadtests.environment.processes import free_port
from loadtests.environment.servers import http_server


def test_first_bytes_are_answered_400_and_silent_connections_stay() -> None:
    port = free_port()
    command = [sys.executable, "-m", "loadtests.environment.empty_server", str(port)]
    with http_server("empty", command, {}, port, READY_PATH), socket.create_connection(("127.0.0.1", port)) as silent:
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
                client.sendall(b"POST / HTTP/1.1\r\ncontent-length: 10\r\n\r\n")
                assert client.recv(12) == b"HTTP/1.1 400"
                while client.recv(1000):
                    pass
        silent.setblocking(False)
        try:
            silent.recv(1)
            raise AssertionError("the silent connection was closed or answered")
        except BlockingIOError:
            pass
