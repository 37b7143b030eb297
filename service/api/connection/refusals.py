"""Responses of the protocol class to messages that never become a request."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus

CORS_STATE = "recblr.cors_header_lines"  # of the lifespan's state: encoded CORS headers by allowed origin
_ORIGIN = re.compile(rb"\r\norigin:[ \t]*([^\r\n]*?)[ \t]*\r\n", re.IGNORECASE)


def origin_in(head: bytes | bytearray) -> bytes:
    """Return the Origin of a head, complete or not."""
    match = _ORIGIN.search(head)
    return b"" if match is None else bytes(match[1])


@dataclass(frozen=True, slots=True)
class Refusal:
    """Error response after which the connection is closed."""

    status: HTTPStatus
    code: str
    message: str

    @lru_cache(maxsize=256)  # noqa: B019 - refusals are constants, and clients repeat a few origins
    def encoded(self, header_lines: bytes = b"") -> bytes:
        """Return status line, headers with `header_lines`, and body."""
        body = json.dumps({"error": {"code": self.code, "message": self.message}}).encode()
        retry = b"retry-after: 1\r\n" if self.status == HTTPStatus.SERVICE_UNAVAILABLE else b""
        return (
            b"HTTP/1.1 %d %s\r\nconnection: close\r\ncontent-type: application/json\r\n%s"
            b"x-content-type-options: nosniff\r\ncache-control: no-store\r\ncontent-length: %d\r\n%s\r\n%s"
            % (self.status.value, self.status.phrase.encode(), retry, len(body), header_lines, body)
        )


HEAD_TOO_LARGE = Refusal(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    "headers_too_large",
    "the path and headers are larger than 64 KiB or there are more than 256 headers; send less",
)
TARGET_TOO_LONG = Refusal(
    HTTPStatus.REQUEST_URI_TOO_LONG,
    "uri_too_long",
    "the path is longer than 8 KiB or there are more than 2,048 query parameters; ids have at most 256 characters",
)
MALFORMED = Refusal(HTTPStatus.BAD_REQUEST, "malformed_http", "this is not valid HTTP/1.1; check the client or proxy")
BAD_HOST = Refusal(HTTPStatus.BAD_REQUEST, "malformed_http", "send the header Host once")
UNKNOWN_CODING = Refusal(
    HTTPStatus.NOT_IMPLEMENTED,
    "unknown_transfer_coding",
    "the only Transfer-Encoding is chunked; to compress a body send it with Content-Encoding: gzip",
)
HEAD_TIMEOUT = Refusal(
    HTTPStatus.REQUEST_TIMEOUT, "request_timeout", "path and headers took too long to arrive; send them at once"
)
BODY_TIMEOUT = Refusal(
    HTTPStatus.REQUEST_TIMEOUT, "request_timeout", "the body took too long to arrive; send it without pauses"
)
TOO_MANY_CONNECTIONS = Refusal(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "too_many_connections",
    "the server has no room for another connection; reuse connections, and try again shortly",
)


def malformed(message: str) -> Refusal:
    """Build the refusal of a malformed message with its own sentence."""
    return Refusal(HTTPStatus.BAD_REQUEST, "malformed_http", message)
