"""Messages whose framing is ambiguous or malformed."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator

import pytest

from tests.attack.raw_server import RawServer, head, read_answer, read_error


@pytest.fixture(scope="module")
def server() -> Iterator[RawServer]:
    with RawServer() as running:
        yield running


@pytest.mark.parametrize(
    "lines",
    [
        ("connection: Upgrade, HTTP2-Settings", "upgrade: h2c", "http2-settings: AAMAAABk"),
        ("connection: Upgrade", "upgrade: websocket", "sec-websocket-version: 13", "sec-websocket-key: eA=="),
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
def test_upgrade_is_ignored_and_body_is_one_body(server: RawServer, lines: tuple[str, ...], chunked: bool) -> None:
    body = head("GET", "/smuggled")
    with server.connect() as client:
        if chunked:
            client.sendall(head("POST", "/kept", *lines, "transfer-encoding: chunked"))
            client.sendall(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
        else:
            client.sendall(head("POST", "/kept", *lines, f"content-length: {len(body)}") + body)
        assert read_answer(client)[2] == b"%d" % len(body)
        client.sendall(head("GET", "/next"))
        assert read_answer(client)[0] == 200
    assert [(seen[0], seen[1], seen[3]) for seen in server.seen[-2:]] == [
        ("POST", "/kept", body),
        ("GET", "/next", b""),
    ]


@pytest.mark.parametrize("path", ["/read", "/unread"])
def test_trailers_are_dropped(server: RawServer, path: str) -> None:
    with server.connect() as client:
        client.sendall(head("POST", path, "transfer-encoding: chunked", "trailer: x-api-key"))
        client.sendall(b"3;name=value\r\nabc\r\n0\r\nX-API-Key: secret\r\n\r\n")
        assert read_answer(client)[0] == 200
        client.sendall(head("GET", "/next"))
        assert read_answer(client)[0] == 200
    assert all(name != b"x-api-key" for seen in server.seen for name, _ in seen[2])


@pytest.mark.parametrize(
    "trailers",
    [b"a: " + b"b" * 9000 + b"\r\n\r\n", b"a: b\r\n" * 2000 + b"\r\n", b"a: b\n\nGET / HTTP/1.1\r\n\r\n"],
)
def test_bad_trailers_are_400(server: RawServer, trailers: bytes) -> None:
    with server.connect() as client:
        client.sendall(head("POST", "/read", "transfer-encoding: chunked") + b"0\r\n" + trailers)
        assert read_error(client) == (400, "malformed_http")


@pytest.mark.parametrize(
    "body",
    [
        b"-3\r\nabc\r\n",
        b"0x3\r\nabc\r\n",
        b"3\nabc\r\n",
        b"3\r\nabcd\r\n",
        b"fffffffff\r\n",
        b" 3\r\nabc\r\n",
        b"3;" + b"e" * 2000 + b"\r\nabc\r\n",
        b"\r\n",
        (b"1;" + b"e" * 900 + b"\r\na\r\n") * 40,
    ],
)
def test_malformed_chunks_are_400(server: RawServer, body: bytes) -> None:
    with server.connect() as client:
        client.sendall(head("POST", "/read", "transfer-encoding: chunked") + body)
        assert read_error(client) == (400, "malformed_http")


@pytest.mark.parametrize("coding", ["gzip, chunked", "identity", "xchunked", "chunked, chunked", "gzip"])
def test_transfer_encoding_other_than_chunked_is_refused(server: RawServer, coding: str) -> None:
    with server.connect() as client:
        client.sendall(head("POST", "/read", f"transfer-encoding: {coding}") + b"0\r\n\r\n")
        assert read_error(client) in ((501, "unknown_transfer_coding"), (400, "malformed_http"))


@pytest.mark.parametrize(
    "message",
    [
        b"GET /\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        b"GET / HTTP/2.0\r\nhost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\nhost: a\n\n\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\n folded\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +3\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET /\xc3\xa4 HTTP/1.1\r\nhost: a\r\n\r\n",
    ],
)
def test_malformed_message_is_400_with_the_error_shape(server: RawServer, message: bytes) -> None:
    before = len(server.seen)
    with server.connect() as client:
        client.sendall(message)
        assert read_error(client) == (400, "malformed_http")
    assert len(server.seen) == before


def test_body_arrives_whole_however_it_is_cut(server: RawServer) -> None:
    seed = int(os.environ.get("SEED", random.randrange(1 << 32)))
    print(f"SEED={seed}")
    cut = random.Random(seed)
    for _ in range(30):
        body = cut.randbytes(cut.randrange(3000))
        if cut.random() < 0.5:
            framed, position = b"", 0
            while position < len(body):
                part = body[position : position + cut.randrange(1, 500)]
                framed += b"%x\r\n%s\r\n" % (len(part), part)
                position += len(part)
            message = head("POST", "/cut", "transfer-encoding: chunked") + framed + b"0\r\nt: x\r\n\r\n"
        else:
            message = head("POST", "/cut", f"content-length: {len(body)}") + body
        message += head("GET", "/next")
        with server.connect() as client:
            position = 0
            while position < len(message):
                step = cut.choice((1, 2, 7, 100, 5000))
                client.sendall(message[position : position + step])
                position += step
            assert read_answer(client)[2] == b"%d" % len(body)
            assert read_answer(client)[2] == b"0"
        assert server.seen[-2][3] == body


def test_refused_connections_end_when_the_client_leaves(server: RawServer) -> None:
    with server.connect() as client:
        client.sendall(head("POST", "/read", "transfer-encoding: chunked") + b"nonsense\r\n")
        assert read_error(client)[0] == 400
    deadline = time.monotonic() + 3
    while server.server.server_state.connections and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not server.server.server_state.connections
