"""Prepared requests and the HTTP client."""

from __future__ import annotations

import pytest

from loadtests.generator.http_client import SERIAL, Connection, RequestError, make_request, request_json
from tests.loadtests.tiny_server import TinyServer


def test_serial_replaces_the_placeholder_without_changing_the_length() -> None:
    request = make_request("write", "POST", "/", {"id": f"run-{SERIAL.decode()}"})
    sent = request.with_serial(7)
    assert b'"run-000000000007"' in sent
    assert len(sent) == len(request.raw)


def test_request_without_placeholder_is_sent_unchanged() -> None:
    request = make_request("read", "GET", "/", headers={"authorization": "Bearer key"})
    assert request.with_serial(7) is request.raw
    assert b"\r\nauthorization: Bearer key\r\n" in request.raw


def test_request_json_returns_the_parsed_body() -> None:
    with TinyServer() as server:
        assert request_json(server.port, "POST", "/", {"a": 1}) == {}
        assert server.bodies == [b'{"a":1}']


def test_request_json_raises_for_other_statuses() -> None:
    with TinyServer(status=503) as server, pytest.raises(RequestError, match="GET /path: 503"):
        request_json(server.port, "GET", "/path")


def test_closed_connection_is_an_error() -> None:
    with TinyServer(close_at=1) as server:
        connection = Connection(server.port)
        with pytest.raises(ConnectionResetError):
            connection.request(make_request("read", "GET", "/").raw)
        connection.close()
