"""Clients that send or read slowly, or not at all."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator

import pytest

from service.api.connection.limits import RESERVED_DESCRIPTORS, ConnectionLimits, listen_backlog, max_connections
from tests.attack.raw_server import FAST, RawServer, head, read_answer, read_error


@pytest.fixture(scope="module")
def server() -> Iterator[RawServer]:
    with RawServer(FAST) as running:
        yield running


def test_silent_connection_is_closed_without_an_answer(server: RawServer) -> None:
    with server.connect() as client:
        assert client.recv(1) == b""


def test_half_head_is_408(server: RawServer) -> None:
    with server.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\nhost: ")
        assert read_error(client) == (408, "request_timeout")


def test_head_byte_by_byte_is_408(server: RawServer) -> None:
    began = time.monotonic()
    with server.connect() as client:
        client.settimeout(0.1)
        while time.monotonic() - began < 8:
            client.sendall(b"a")
            try:
                assert client.recv(12) == b"HTTP/1.1 408"
                break
            except TimeoutError:
                continue
    assert 1 < time.monotonic() - began < 5


@pytest.mark.parametrize("framing", ["content-length: 1000", "transfer-encoding: chunked"])
def test_half_body_is_408(server: RawServer, framing: str) -> None:
    with server.connect() as client:
        client.sendall(head("POST", "/", framing) + b"1")
        assert read_error(client) == (408, "request_timeout")


@pytest.mark.parametrize("framing", ["content-length: 1000", "transfer-encoding: chunked"])
def test_head_without_any_body_is_408(server: RawServer, framing: str) -> None:
    with server.connect() as client:
        client.sendall(head("POST", "/", framing))
        assert read_error(client) == (408, "request_timeout")


def test_body_below_the_lowest_rate_is_408(server: RawServer) -> None:
    with server.connect() as client:
        client.sendall(head("POST", "/", "content-length: 1000000"))
        client.settimeout(0.05)
        for _ in range(200):
            client.sendall(b"a" * 100)
            try:
                assert client.recv(12) == b"HTTP/1.1 408"
                return
            except TimeoutError:
                continue
    pytest.fail("the connection stays open")


def test_client_that_never_reads_is_disconnected(server: RawServer) -> None:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", server.port))
        client.sendall(head("GET", "/large") * 3)
        deadline = time.monotonic() + 15
        while server.server.server_state.connections and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not server.server.server_state.connections


def test_slow_application_is_not_the_clients_fault(server: RawServer) -> None:
    with server.connect() as client:
        for _ in range(8):
            client.sendall(head("GET", "/slow"))
            assert read_answer(client)[0] == 200


def test_descriptors_stay_for_the_store_and_the_backlog() -> None:
    assert (listen_backlog(256), max_connections(256)) == (64, 256 - 64 - RESERVED_DESCRIPTORS)
    assert (listen_backlog(1 << 20), max_connections(1 << 20)) == (2048, 16_384)
    assert max_connections(32) == 8


def test_full_server_closes_silent_connections_and_serves_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("service.api.connection.limits.max_connections", lambda: 50)
    with RawServer() as server, caplog.at_level(logging.WARNING):
        kept = server.connect()
        kept.sendall(head("GET", "/slow"))
        silent = [server.connect() for _ in range(500)]
        for _ in range(20):
            with server.connect() as client:
                client.sendall(head("GET", "/"))
                assert read_answer(client)[0] == 200
        assert read_answer(kept)[0] == 200
        assert len(server.server.server_state.connections) <= 52
        for each in (kept, *silent):
            each.close()
    lines = [record for record in caplog.records if record.getMessage() == "slow connection closed"]
    assert 1 <= len(lines) <= 5


def test_new_connection_is_503_while_all_others_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.api.connection.limits.max_connections", lambda: 3)
    with RawServer() as server:
        busy = [server.connect() for _ in range(3)]
        for each in busy:
            each.sendall(head("GET", "/slow"))
        time.sleep(0.1)
        with server.connect() as client:
            assert read_error(client) == (503, "too_many_connections")
        for each in busy:
            assert read_answer(each)[0] == 200
            each.close()


def test_limits_log_at_most_once_a_second(caplog: pytest.LogCaptureFixture) -> None:
    limits = ConnectionLimits(None, set())  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING):
        for _ in range(1000):
            limits.count_closed("head")
    assert len(caplog.records) == 1
