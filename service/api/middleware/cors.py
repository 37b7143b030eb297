"""CORS: which web pages of other sites may call from a browser.

Starlette's middleware wraps the application. Here the headers must also stand on what is answered outside: unexpected
exceptions, and messages that are not valid HTTP. So `Telemetry` and the protocol class add them to every response.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Sequence

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.error_responses import error_response
from service.core.errors import Forbidden

RawHeaders = tuple[tuple[bytes, bytes], ...]

_REQUEST_HEADERS = ("Authorization", "X-API-Key", "Content-Type", "Content-Encoding", "X-Request-ID")
_SAFE_HEADERS = ("Accept", "Accept-Language", "Content-Language")  # need no permission, but may be asked for
_EXPOSED = b"X-Request-ID, Retry-After"
_PREFLIGHT_SECONDS = 600
_VARY = (b"vary", b"Origin")  # a cache must not give one origin's answer to another


class CorsPolicy:
    """Allowed origins, and the headers that tell a browser.

    Args:
        origins: Origins whose pages may call; without any, no response has a CORS header.
        methods: Methods of the routes.
    """

    def __init__(self, origins: Sequence[str], methods: Iterable[str]) -> None:
        self.methods = frozenset(methods)
        self._refused: RawHeaders = (_VARY,) if origins else ()
        self._allowed: dict[bytes, RawHeaders] = {
            origin.encode("ascii"): (
                (b"access-control-allow-origin", origin.encode("ascii")),
                (b"access-control-expose-headers", _EXPOSED),
                _VARY,
            )
            for origin in origins
        }

    def __bool__(self) -> bool:
        return bool(self._allowed)

    def response_headers(self, request_headers: Iterable[tuple[bytes, bytes]]) -> RawHeaders:
        """Return the headers of a response."""
        for name, value in request_headers:
            if name == b"origin":
                return self._allowed.get(value, self._refused)
        return self._refused

    def header_lines(self) -> dict[bytes, bytes]:
        """Return the encoded headers of a response, by origin."""
        return {
            origin: b"".join(b"%s: %s\r\n" % header for header in headers)
            for origin, headers in self._allowed.items()
        }

    def preflight(self, headers: Headers) -> Response:
        """Answer a browser that asks what a page may send."""
        method = headers["access-control-request-method"]
        asked = {name.strip().lower() for name in headers.get("access-control-request-headers", "").split(",")}
        known = {name.lower() for name in (*_REQUEST_HEADERS, *_SAFE_HEADERS, "")}
        if headers["origin"].encode("latin-1") not in self._allowed:
            return error_response(Forbidden("pages of this origin may not call; name it in RECBLR_CORS_ORIGINS"))
        if method not in self.methods:
            return error_response(Forbidden("pages may not use this method; no route has it"))
        if asked - known:
            allowed = ", ".join(_REQUEST_HEADERS)
            return error_response(Forbidden(f"pages may not send one of these headers; allowed are {allowed}"))
        return Response(
            headers={
                "Access-Control-Allow-Methods": ", ".join(sorted(self.methods)),
                "Access-Control-Allow-Headers": ", ".join((*_REQUEST_HEADERS, *_SAFE_HEADERS)),
                "Access-Control-Max-Age": str(_PREFLIGHT_SECONDS),
            }
        )


class Preflight:
    """Middleware that answers preflight requests, which carry no key."""

    def __init__(self, app: ASGIApp, policy: CorsPolicy) -> None:
        self._app = app
        self._policy = policy

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Pass the request on, or answer the preflight."""
        if scope["type"] == "http" and scope["method"] == "OPTIONS":
            headers = Headers(scope=scope)
            if "origin" in headers and "access-control-request-method" in headers:
                return self._policy.preflight(headers)(scope, receive, send)
        return self._app(scope, receive, send)
