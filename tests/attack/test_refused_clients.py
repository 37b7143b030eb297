"""Slots of clients that are refused again and again."""

from __future__ import annotations

import asyncio
import gc
import socket
import struct
import weakref
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

import pytest

from service.api.connection import limits, timed_connection
from service.api.connection.limits import REFUSALS_PER_SECOND
from service.api.connection.transport import CollectingTransport
from service.api.connection.work_slots import MAX_WAITING_BYTES, WorkSlots
from service.api.uvicorn_protocol import HttpProtocol
from service.core.recommending.heavy_work import LightRequests
from tests.attack.raw_server import RawServer, head, read_answer, read_error
from tests.deployments import wait_for

ORDINARY, REFUSED, INVALID = (
    head("GET", "/"),
    head("GET", "/refused"),
    b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
)
PIPELINE = head("GET", "/") * 8_000  # some 200 KB


@pytest.fixture
def server() -> Iterator[RawServer]:
    with RawServer() as running:
        yield running


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Record which work asks for a slot."""
    works: list[object] = []
    ask = WorkSlots.ask

    def recorded(self: WorkSlots, account: str, work: object, *rest: object) -> None:
        works.append(work)
        ask(self, account, work, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(WorkSlots, "ask", recorded)
    return works


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the server think that light requests arrive all the time."""
    monkeypatch.setattr(LightRequests, "are_expected", lambda _: True)


@pytest.fixture
def one_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allow one refusal a second: the test may be slow."""
    monkeypatch.setattr(limits, "REFUSALS_PER_SECOND", 1)


class FakeTransport(NamedTuple):
    """Transport that only knows its socket."""

    socket: socket.socket

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes) -> None:
        raise AssertionError("nothing is sent")

    def get_extra_info(self, name: str) -> object:
        return getattr(self, name)


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname())
        return client, listening.accept()[0]


def reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def refuse(client: socket.socket, times: int) -> None:
    for _ in range(times):
        client.sendall(REFUSED)
        assert read_answer(client)[0] == 404


def refuse_invalid(server: RawServer, times: int) -> None:
    for _ in range(times):
        with server.connect() as client:
            client.sendall(INVALID)
            assert read_error(client) == (400, "malformed_http")


@pytest.mark.usefixtures("one_refusal")
@pytest.mark.parametrize("refusals", ["of requests", "of messages"])
def test_refused_connections_wait_once_an_address_was_refused_too_often(
    server: RawServer, asked: list[object], refusals: str
) -> None:
    with server.connect() as trusted, server.connect() as refused:
        trusted.sendall(ORDINARY)
        assert read_answer(trusted)[0] == 200
        if refusals == "of requests":
            refuse(refused, 3)
        else:
            refuse_invalid(server, 3)
            refuse(refused, 2)
        first = len(asked)
        assert 0 < first <= 2
        trusted.sendall(ORDINARY)
        assert read_answer(trusted)[0] == 200
        with server.connect() as new:
            new.sendall(ORDINARY)
            assert read_answer(new)[0] == 200
        assert len(asked) == first
        for waits in (1, 0):  # the answer to the first one is no refusal
            refused.sendall(ORDINARY)
            assert read_answer(refused)[0] == 200
            assert len(asked) == first + 1, waits


@pytest.mark.usefixtures("one_refusal")
@pytest.mark.parametrize("refusals", [0, 3])
def test_new_connection_that_its_client_left_is_dropped_once_its_address_was_refused_too_often(
    server: RawServer, monkeypatch: pytest.MonkeyPatch, refusals: int
) -> None:
    refuse_invalid(server, refusals)
    monkeypatch.setattr(CollectingTransport, "has_left", lambda _: True)
    with server.connect() as client:
        client.sendall(ORDINARY)
        if refusals:
            with suppress(ConnectionResetError):
                assert client.recv(1) == b""
        else:
            assert read_answer(client)[0] == 200
    assert len(server.seen) == (0 if refusals else 1)


def test_transport_notices_that_the_client_has_closed_or_reset(server: RawServer) -> None:
    found: dict[str, tuple[bool, bool]] = {}
    for name, close in {
        "open": lambda client: None,
        "closed": lambda client: client.shutdown(socket.SHUT_WR),
        "reset": reset,
    }.items():
        client, accepted = tcp_pair()
        close(client)
        transport = CollectingTransport(FakeTransport(accepted), asyncio.new_event_loop(), bool)  # type: ignore[arg-type]
        found[name] = (transport.has_left(), transport.is_reset())
        accepted.close()
    assert found == {"open": (False, False), "closed": (True, False), "reset": (True, True)}


def test_rare_refusals_wait_for_nothing(server: RawServer, asked: list[object]) -> None:
    with server.connect() as client:
        refuse(client, REFUSALS_PER_SECOND - 1)
    assert asked == []


@pytest.mark.usefixtures("busy")
def test_pipeline_of_a_client_that_reset_the_connection_is_not_answered(server: RawServer) -> None:
    for _ in range(20):
        with server.connect() as client:
            client.sendall(PIPELINE)
            assert read_answer(client)[0] == 200
            reset(client)
    wait_for("the connections' end", lambda: not server.server.server_state.connections)
    assert len(server.seen) <= 20 * 10  # some were answered before the reset


@pytest.mark.usefixtures("busy")
def test_bytes_that_wait_for_slots_are_bounded(server: RawServer, monkeypatch: pytest.MonkeyPatch) -> None:
    dropped, most = [], 0
    drop = timed_connection.TimedConnection._drop_work
    monkeypatch.setattr(
        timed_connection.TimedConnection, "_drop_work", lambda self: (dropped.append(self), drop(self))
    )
    clients = [server.connect() for _ in range(2 * MAX_WAITING_BYTES // len(PIPELINE))]
    for client in clients:
        client.setblocking(False)
        client.send(PIPELINE)
        held = [len(each._received) for each in list(server.server.server_state.connections)]  # type: ignore[union-attr]
        most = max(most, sum(held))
    wait_for("a closed connection", lambda: bool(dropped))
    assert 0 < most <= MAX_WAITING_BYTES + (1 << 20)
    with server.connect() as other:
        other.sendall(ORDINARY)
        assert read_answer(other)[0] == 200
    for client in clients:
        client.close()


def test_closed_connections_are_freed_without_a_garbage_collection(
    server: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[weakref.ref[HttpProtocol]] = []
    connection_made = timed_connection.TimedConnection.connection_made

    def recorded(self: HttpProtocol, transport: object) -> None:
        made.append(weakref.ref(self))
        connection_made(self, transport)  # type: ignore[arg-type]

    monkeypatch.setattr(timed_connection.TimedConnection, "connection_made", recorded)
    gc.disable()
    try:
        for message in (ORDINARY, INVALID, b"", ORDINARY * 2, head("POST", "/", "content-length: 9") + b"cut off"):
            with server.connect() as client:
                client.sendall(message)
                if message.endswith(b"\r\n\r\n"):
                    assert read_answer(client)[0] in (200, 400)
        wait_for("freed connections", lambda: all(each() is None for each in made))
    finally:
        gc.enable()
    assert len(made) == 5


def test_pipelined_requests_do_not_copy_what_is_behind_them(
    server: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[int] = []
    drop = HttpProtocol._drop_received

    def recorded(self: HttpProtocol, count: int) -> None:
        before = self._received
        drop(self, count)
        copied.append(0 if self._received is before else len(self._received))

    monkeypatch.setattr(HttpProtocol, "_drop_received", recorded)
    with server.connect() as client:
        client.sendall(ORDINARY * 2000)
        for _ in range(2000):
            assert read_answer(client)[0] == 200
    # A read of the socket is copied once, its last few requests one by one.
    assert sum(copied) <= 4 * len(ORDINARY) * 2000 + 4096 * 4096 // len(ORDINARY)
