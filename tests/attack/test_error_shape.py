"""Refused messages on a real connection have the one error shape."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import pytest

from service.api.connection import refusals
from service.api.connection.refusals import Refusal, origin_in
from tests.api.app_harness import AppHarness
from tests.api.conftest import KEY
from tests.attack.raw_server import FAST, RawServer, head, read_answer

ORIGIN = "https://shop.example"
FROM, K, J = f"origin: {ORIGIN}", f"x-api-key: {KEY}", "content-type: application/json"
CHUNKED = "transfer-encoding: chunked"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RawServer]:
    harness = AppHarness(tmp_path_factory.mktemp("shape"), keys=(KEY,), origins=(ORIGIN,))
    with RawServer(FAST, harness.app) as running:
        yield running
    harness.close()


MESSAGES: dict[str, tuple[int, bytes]] = {
    "no HTTP": (400, f"hello\r\n{FROM}\r\n\r\n".encode()),
    "wrong version": (400, f"GET / HTTP/3.7\r\nhost: x\r\n{FROM}\r\n\r\n".encode()),
    "no host": (400, f"GET / HTTP/1.1\r\n{FROM}\r\n\r\n".encode()),
    "two hosts": (400, head("GET", "/", "host: y", FROM)),
    "space before colon": (400, head("GET", "/", "x : y", FROM)),
    "control character": (400, head("GET", "/", "x: \x01", FROM)),
    "connect": (400, f"CONNECT x:443 HTTP/1.1\r\nhost: x\r\n{FROM}\r\n\r\n".encode()),
    "two lengths": (400, head("POST", "/v1/events", FROM, "content-length: 1", "content-length: 2") + b"xx"),
    "wrong length": (400, head("POST", "/v1/events", FROM, "content-length: -1")),
    "length and chunks": (400, head("POST", "/v1/events", FROM, "content-length: 5", CHUNKED) + b"0\r\n\r\n"),
    "wrong chunk": (400, head("POST", "/v1/events", FROM, K, J, CHUNKED) + b"zz\r\n"),
    "long trailers": (400, head("POST", "/v1/events", FROM, K, J, CHUNKED) + b"0\r\na: " + b"b" * 9000 + b"\r\n\r\n"),
    "unknown coding": (501, head("POST", "/v1/events", FROM, "transfer-encoding: gzip, chunked")),
    "long head": (431, head("GET", "/", FROM, "x: " + "y" * 66_000)),
    "long path": (431, f"GET /{'x' * 10} HTTP/1.1\r\n{FROM}\r\nx: {'y' * 66_000}".encode()),
    "many headers": (431, head("GET", "/", FROM, *["x: y"] * 300)),
    "slow head": (408, f"GET / HTTP/1.1\r\nhost: x\r\n{FROM}\r\n".encode()),
    "slow body": (408, head("POST", "/v1/events", FROM, K, J, "content-length: 100") + b"{"),
    "no key": (401, head("POST", "/v1/events", FROM)),
    "wrong key": (401, head("GET", "/v1/model", FROM, f"x-api-key: {KEY}x")),
    "unknown path": (404, head("GET", "/nothing", FROM)),
    "asterisk": (404, head("OPTIONS", "*", FROM)),
    "absolute target": (404, head("GET", "http://elsewhere/nothing", FROM)),
    "percent": (422, head("GET", "/v1/users/%zz%ff", FROM, K)),
    "wrong method": (405, head("DELETE", "/v1/events", FROM, K)),
    "unknown method": (405, head("PROPFIND", "/v1/events", FROM, K)),
    "large body": (413, head("POST", "/v1/events", FROM, K, J, "content-length: 5000000") + b" " * 5_000_000),
    "large gzip": (
        413,
        head("POST", "/v1/events", FROM, K, J, "content-encoding: gzip", CHUNKED)
        + b"%x\r\n%s\r\n0\r\n\r\n" % (len(gzip.compress(b" " * 5_000_000)), gzip.compress(b" " * 5_000_000)),
    ),
    "no JSON": (422, head("POST", "/v1/events", FROM, K, J, "content-length: 1") + b"{"),
    "refused preflight": (403, head("OPTIONS", "/v1/events", FROM, "access-control-request-method: BREW")),
}


def send_message(server: RawServer, message: bytes) -> tuple[int, bytes, Any]:
    with server.connect() as client:
        client.sendall(message)
        status, answer_head, body = read_answer(client)
        return status, answer_head.lower(), json.loads(body)


@pytest.mark.parametrize("name", MESSAGES)
def test_refused_message_gets_the_error_shape_and_the_origin(server: RawServer, name: str) -> None:
    status, message = MESSAGES[name]
    answered, answer_head, body = send_message(server, message)
    assert answered == status, body
    assert set(body) == {"error"}
    assert {"code", "message"} <= set(body["error"]) <= {"code", "message", "details"}
    assert b"content-type: application/json\r\n" in answer_head
    assert b"x-content-type-options: nosniff\r\n" in answer_head
    assert answer_head.count(b"access-control-allow-origin: https://shop.example\r\n") == 1
    assert b"vary: origin\r\n" in answer_head


@pytest.mark.parametrize("name", ["no HTTP", "wrong chunk", "long head", "slow body", "no key", "large body"])
def test_refused_message_of_another_origin_gets_no_permission(server: RawServer, name: str) -> None:
    status, message = MESSAGES[name]
    answered, answer_head, _ = send_message(server, message.replace(b"shop.example", b"evil.example"))
    assert answered == status
    assert b"access-control" not in answer_head


def test_origin_of_one_request_does_not_count_for_the_next(server: RawServer) -> None:
    with server.connect() as client:
        client.sendall(head("GET", "/healthz", FROM))
        assert read_answer(client)[0] == 200
        client.sendall(b"hello\r\n\r\n")
        status, answer_head, _ = read_answer(client)
        assert status == 400
        assert b"access-control" not in answer_head


def test_every_refusal_is_one_error_with_a_length() -> None:
    found = [each for each in vars(refusals).values() if isinstance(each, Refusal)]
    assert len(found) >= 7
    for refusal in (*found, refusals.malformed("a sentence")):
        answer_head, _, body = refusal.encoded(b"vary: Origin\r\n").partition(b"\r\n\r\n")
        assert answer_head.startswith(b"HTTP/1.1 %d " % refusal.status)
        assert b"content-length: %d\r\nvary: Origin" % len(body) in answer_head
        assert json.loads(body) == {"error": {"code": refusal.code, "message": refusal.message}}
        assert (b"retry-after" in answer_head) == (refusal.status == HTTPStatus.SERVICE_UNAVAILABLE)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (b"GET / HTTP/1.1\r\nOrigin:  https://a \r\nx: y", b"https://a"),
        (b"GET / HTTP/1.1\r\nx-origin: https://a\r\n", b""),
        (b"GET / HTTP/1.1\r\nx: origin: https://a\r\n", b""),
        (b"GET / HTTP/1.1\r\norigin: https://a", b""),  # cut off, may go on
        (b"", b""),
    ],
)
def test_origin_is_read_from_a_partial_head(found: bytes, expected: bytes) -> None:
    assert origin_in(found) == expected
