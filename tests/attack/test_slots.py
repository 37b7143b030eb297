"""Work beyond an ordinary request waits for slots, by counts.

The counts hold beside light requests; without any, everything is done at once.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator

import pytest

from service.api.connection import timed_connection
from service.api.connection.body_framing import STEPS_IN_SLOT, STEPS_ON_ARRIVAL, ChunkedFraming
from service.api.connection.work_slots import MIN_PAUSE_SECONDS, WorkSlots
from service.core.recommending.heavy_work import LightRequests
from tests.attack.raw_server import RawServer, head, read_answer, read_error

PIPELINED, SECONDS = 20_000, 1.0
CHUNKS = 20_000


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the server think that light requests arrive all the time."""
    monkeypatch.setattr(LightRequests, "are_expected", lambda _: True)


@pytest.fixture
def slots(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Record when slots begin."""
    began: list[float] = []
    run = WorkSlots._run

    def recorded(self: WorkSlots) -> None:
        began.append(time.monotonic())
        run(self)

    monkeypatch.setattr(WorkSlots, "_run", recorded)
    return began


@pytest.fixture
def server() -> Iterator[RawServer]:
    with RawServer() as running:
        yield running


def send_while_answers_come(client: socket.socket, data: bytes, seconds: float) -> None:
    client.setblocking(False)
    deadline, position = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        readable, writable, _ = select.select([client], [client] if position < len(data) else [], [], 0.05)
        if readable:
            client.recv(1 << 16)
        if writable:
            position += client.send(data[position : position + (1 << 16)])


@pytest.mark.usefixtures("busy")
def test_pipelined_requests_get_one_slot_at_a_time(server: RawServer, slots: list[float]) -> None:
    began = time.monotonic()
    with server.connect() as first, server.connect() as second:
        second.sendall(head("GET", "/") * PIPELINED)
        send_while_answers_come(first, head("GET", "/") * PIPELINED, SECONDS)
    seconds = time.monotonic() - began
    ordinary = 2  # the first request of each connection
    assert ordinary < len(server.seen) <= ordinary + len(slots)
    assert len(slots) <= 2 * seconds / MIN_PAUSE_SECONDS  # uvloop rounds to milliseconds


def test_pipelined_requests_wait_for_nothing_without_light_requests(server: RawServer) -> None:
    count = 300
    with server.connect() as client:
        client.sendall(head("GET", "/") * count)
        for _ in range(count):
            assert read_answer(client)[0] == 200


@pytest.mark.usefixtures("busy")
def test_requests_one_after_another_need_no_slot(server: RawServer, slots: list[float]) -> None:
    with server.connect() as client:
        for number in range(50):
            client.sendall(head("POST", "/", "content-length: 3") + b"abc")
            assert read_answer(client)[0] == 200
            body = b"1\r\na\r\n" * (number % 10) + b"0\r\n\r\n"
            client.sendall(head("POST", "/", "transfer-encoding: chunked") + body)
            assert read_answer(client)[0] == 200
    assert slots == []


def test_small_chunks_are_read_in_slots(
    server: RawServer, slots: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    take = ChunkedFraming.take

    def recorded(self: ChunkedFraming, received: bytes | bytearray, max_steps: int) -> tuple[bytes, int]:
        steps.append(max_steps)
        return take(self, received, max_steps)

    monkeypatch.setattr(ChunkedFraming, "take", recorded)
    with server.connect() as client:
        chunks = b"8\r\nabcdefgh\r\n" * CHUNKS + b"0\r\n\r\n"
        client.sendall(head("POST", "/", "transfer-encoding: chunked") + chunks)
        assert read_answer(client)[2] == b"%d" % (8 * CHUNKS)
    assert set(steps) == {STEPS_ON_ARRIVAL, STEPS_IN_SLOT}
    in_slots = steps.count(STEPS_IN_SLOT)
    assert in_slots >= 3 * CHUNKS / STEPS_IN_SLOT * 0.9
    assert steps.count(STEPS_ON_ARRIVAL) <= 64  # reads of the socket
    assert in_slots <= len(slots)


def test_bytes_behind_a_refused_message_are_read_in_slots_and_bounded(
    server: RawServer, slots: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped = []
    drop = timed_connection.TimedConnection._drop

    def recorded(self: timed_connection.TimedConnection, count: int) -> None:
        dropped.append(count)
        drop(self, count)

    monkeypatch.setattr(timed_connection.TimedConnection, "_drop", recorded)
    with server.connect() as client:
        client.sendall(head("POST", "/", "transfer-encoding: chunked") + b"nonsense\r\n")
        with pytest.raises(OSError):
            for _ in range(1000):
                client.sendall(b"x" * (1 << 20))
    assert sum(dropped) <= timed_connection.MAX_DROPPED_AFTER_REFUSAL + (1 << 20)
    assert len(slots) >= len(dropped) - 1


def test_refusal_can_be_read_after_sending_a_megabyte(server: RawServer) -> None:
    with server.connect() as client:
        client.sendall(head("POST", "/", "transfer-encoding: chunked") + b"nonsense\r\n" + b"x" * 900_000)
        assert read_error(client) == (400, "malformed_http")
