"""Outermost middleware: request id, metrics, log line, response to unexpected exceptions."""

from __future__ import annotations

import asyncio
import logging
from random import getrandbits
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api import request_costs
from service.api.caller import ANONYMOUS_CALLER, CALLER, Caller
from service.api.error_responses import error_response, internal_error
from service.api.middleware.cors import CorsPolicy
from service.api.middleware.request_path import RequestPath
from service.observability.access_log import AccessLog
from service.observability.logging import current_request_id
from service.observability.metrics import KNOWN_METHODS, OTHER_METHOD, HttpMetrics, route_of

_log = logging.getLogger(__name__)

MAX_WRITTEN_BYTES = 256 * 1024  # of a body at once
_MAX_REQUEST_ID_LENGTH = 128
_PUBLIC_HEADERS = ((b"x-content-type-options", b"nosniff"),)  # a browser must not run JSON as a script
_PRIVATE_HEADERS = (*_PUBLIC_HEADERS, (b"cache-control", b"no-store"))  # no proxy or browser keeps data of a user
_CLIENT_CLOSED_REQUEST = 499  # nginx' status for a request that was cancelled before the response began


class Telemetry:
    """Middleware that measures and logs every request.

    Requests that use the admin scope are logged also without an access log.

    It is pure ASGI: it costs microseconds and never buffers a response.
    """

    def __init__(
        self,
        app: ASGIApp,
        request_path: RequestPath,
        cors: CorsPolicy,
        metrics: HttpMetrics,
        access_log: AccessLog | None,
    ) -> None:
        self._app = app
        self._cors = cors or None
        self._request_path = request_path
        self._rewrites = bool(request_path.root_path)
        self._query_forms = request_path.forms
        self._metrics = metrics
        self._access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and record its outcome."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        token = current_request_id.set(request_id)
        if "raw_path" in scope:
            # Routes match the path as the client sent it, and `field_types.PathId` decodes each id afterwards, so
            # that an id may contain a slash.
            scope["path"] = scope["raw_path"].decode("latin-1")
        if self._rewrites or scope["path"] in self._query_forms:
            self._request_path.rewrite(scope)
        status = 0
        private = scope["path"].startswith("/v1/")

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", request_id.encode("ascii")),
                    *(_PRIVATE_HEADERS if private else _PUBLIC_HEADERS),
                ]
                if self._cors is not None:
                    message["headers"] += self._cors.response_headers(scope["headers"])
            elif len(message.get("body", b"")) > MAX_WRITTEN_BYTES:
                scope.get(CALLER, ANONYMOUS_CALLER).charge(request_costs.of_answer(len(message["body"])))
                await _send_in_pieces(message, send)
                return
            await send(message)

        started_at = perf_counter()
        self._metrics.in_progress.inc()
        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            _log.exception("request failed", extra={"method": scope["method"], "route": route_of(scope)})
            if status:
                raise  # the response has begun and cannot be replaced; the server closes the connection
            await error_response(internal_error())(scope, receive, send_with_id)
        finally:
            self._finish(scope, status or _CLIENT_CLOSED_REQUEST, perf_counter() - started_at, request_id)
            current_request_id.reset(token)

    def _finish(self, scope: Scope, status: int, seconds: float, request_id: str) -> None:
        route, method = route_of(scope), KNOWN_METHODS.get(scope["method"], OTHER_METHOD)
        caller: Caller = scope.get(CALLER, ANONYMOUS_CALLER)
        self._metrics.request_finished(route, method, status, seconds)
        if self._access_log is not None:
            self._access_log.add(caller.name, method, route, status, seconds, request_id)
        if caller.admin:
            fields = {"route": route, "method": method, "status": status, "seconds": round(seconds, 6)}
            _log.info("administration request", extra={**fields, "caller": caller.name})


async def _send_in_pieces(message: Message, send: Send) -> None:
    """Send a large body; wait for the client after each piece.

    The transport copies what it gets several times, and keeps what the client has not read.
    """
    body, more_body = message["body"], message.get("more_body", False)
    for start in range(0, len(body), MAX_WRITTEN_BYTES):
        piece, is_last = body[start : start + MAX_WRITTEN_BYTES], start + MAX_WRITTEN_BYTES >= len(body)
        await send({"type": message["type"], "body": piece, "more_body": more_body or not is_last})
        await asyncio.sleep(0)  # the piece is written meanwhile


def _request_id(scope: Scope) -> str:
    """Return the client's X-Request-ID, or a new id.

    A client's id is used only if it is short printable ASCII, safe for a header and a log line.
    """
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            text: str = value.decode("latin-1")
            if 0 < len(text) <= _MAX_REQUEST_ID_LENGTH and text.isascii() and text.isprintable():
                return text
            break
    return f"{getrandbits(128):032x}"
