"""Large heads, pipelines and unread bodies, by bytes and counts."""

from __future__ import annotations

import http.client
import select
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from service.api.connection.head_checks import MAX_HEADERS, MAX_PARAMETERS, MAX_PATH_BYTES
from service.api.uvicorn_protocol import MAX_HEAD_BYTES
from tests.attack.raw_server import RawServer, head, read_answer, read_error


@pytest.fixture(scope="module")
def server() -> Iterator[RawServer]:
    with RawServer() as running:
        yield running


def sized_head(size: int, *lines: str) -> bytes:
    empty = head("POST", "/", *lines, "x: ")
    return head("POST", "/", *lines, "x: " + "a" * (size - len(empty)))


@pytest.mark.parametrize("before", [b"", head("GET", "/first")])
@pytest.mark.parametrize("step", [1 << 20, 1000])
def test_head_of_the_limit_passes_and_one_byte_more_is_431(server: RawServer, before: bytes, step: int) -> None:
    for size in (MAX_HEAD_BYTES, MAX_HEAD_BYTES + 1):
        message = before + sized_head(size, "content-length: 2") + b"ok"
        with server.connect() as client:
            for position in range(0, len(message), step):
                client.sendall(message[position : position + step])
            if before:
                assert read_answer(client)[0] == 200
            if size == MAX_HEAD_BYTES:
                assert read_answer(client)[2] == b"2"
            else:
                assert read_error(client) == (431, "headers_too_large")


def test_long_request_line_is_431(server: RawServer) -> None:
    with server.connect() as client:
        client.sendall(b"GET /" + b"a" * MAX_HEAD_BYTES)
        assert read_error(client) == (431, "headers_too_large")


@pytest.mark.parametrize(
    ("target", "refused"),
    [
        ("/" + "a" * (MAX_PATH_BYTES - 1), False),
        ("/" + "a" * MAX_PATH_BYTES, True),
        ("/?" + "&".join(["a"] * MAX_PARAMETERS), False),
        ("/?" + "&".join(["a"] * (MAX_PARAMETERS + 1)), True),
        ("/?" + "a" * 60_000, False),
    ],
    ids=["path", "long path", "parameters", "many parameters", "long parameter"],
)
def test_long_target_is_414(server: RawServer, target: str, refused: bool) -> None:
    with server.connect() as client:
        client.sendall(head("GET", target))
        if refused:
            assert read_error(client) == (414, "uri_too_long")
        else:
            assert read_answer(client)[0] == 200


def test_too_many_headers_are_431(server: RawServer) -> None:
    for count, status in ((MAX_HEADERS - 1, 200), (MAX_HEADERS, 431)):
        with server.connect() as client:
            client.sendall(head("GET", "/", *["a: b"] * count))
            assert read_answer(client)[0] == status


def test_pipelined_requests_wait_outside_while_answers_are_not_read(server: RawServer) -> None:
    before = len(server.seen)
    with server.connect() as client:
        client.setblocking(False)
        message = head("GET", "/large") * 1000
        sent, deadline = 0, time.monotonic() + 1.5
        while time.monotonic() < deadline:
            _, writable, _ = select.select([], [client], [], 0.1)
            sent += client.send(message) if writable else 0
        connection = next(iter(server.server.server_state.connections))
        assert len(connection._received) <= 512 * 1024  # type: ignore[union-attr]
        assert not connection.pipeline  # type: ignore[union-attr]
    assert sent < 16 << 20  # the rest waits in the kernel's buffers
    assert len(server.seen) - before <= 4


def test_pipelined_requests_are_answered_in_order(server: RawServer) -> None:
    with server.connect() as client:
        bodies = [b"a" * size for size in (3, 0, 70_000, 1)]
        for body in bodies:
            client.sendall(head("POST", "/slow", f"content-length: {len(body)}") + body)
        assert [read_answer(client)[2] for _ in bodies] == [b"%d" % len(body) for body in bodies]


@pytest.mark.parametrize("closing", [True, False])
def test_answer_to_unread_body_can_be_read_after_sending_everything(server: RawServer, closing: bool) -> None:
    body = b"x" * 20_000_000
    lines = ("connection: close",) if closing else ()
    with server.connect() as client:
        client.sendall(head("POST", "/unread", *lines, f"content-length: {len(body)}") + body)
        assert read_answer(client)[0] == 200
        if not closing:
            client.sendall(head("GET", "/next"))
            assert read_answer(client)[0] == 200


def test_urllib_reads_the_answer_to_an_unread_body(server: RawServer) -> None:
    url = f"http://127.0.0.1:{server.port}/unread"
    with urllib.request.urlopen(urllib.request.Request(url, data=b"x" * 10_000_000)) as answer:
        assert answer.status == 200


def test_dropped_bytes_are_bounded(server: RawServer) -> None:
    with server.connect() as client:
        client.sendall(head("POST", "/unread", f"content-length: {1 << 40}"))
        with pytest.raises(OSError):
            for _ in range(200):
                client.sendall(b"x" * (1 << 20))


def test_body_that_was_not_invited_is_not_a_request(server: RawServer) -> None:
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    client.request("POST", "/unread", headers={"Expect": "100-continue", "Content-Length": "20"})
    assert client.getresponse().status == 200
    assert client.sock is None or client.sock.recv(1) == b""
    client.close()


def test_continue_is_sent_once_the_body_is_wanted(server: RawServer) -> None:
    with server.connect() as client:
        client.sendall(head("POST", "/", "expect: 100-continue", "content-length: 2"))
        assert client.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"ok")
        assert read_answer(client)[2] == b"2"
