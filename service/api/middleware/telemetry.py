"""The outermost layer of every request: its id, its path, its log line, its metrics, and the last net for faults."""

from __future__ import annotations

import logging
from random import getrandbits
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.errors import error_response, internal_error
from service.observability.logging import current_request_id, route_of
from service.observability.metrics import PrometheusMeter

_log = logging.getLogger(__name__)

_LONGEST_ID = 128
_OF_ALL = ((b"x-content-type-options", b"nosniff"),)  # an answer is what it says it is, never a script
_OF_A_USER = (*_OF_ALL, (b"cache-control", b"no-store"))  # nor kept by a proxy or a browser
_CLIENT_WENT_AWAY = 499  # no answer was begun: the request was cancelled


class Telemetry:
    """Pure ASGI, so that it costs a request microseconds and never buffers an answer."""

    def __init__(self, app: ASGIApp, meter: PrometheusMeter) -> None:
        self._app = app
        self._meter = meter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI scope."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        token = current_request_id.set(request_id)
        if "raw_path" in scope:
            # Routes match the path as it was sent, and ids are decoded after the split (`fields.PathId`), so that
            # an id may hold a slash.
            scope["path"] = scope["raw_path"].decode("latin-1")
        status = 0
        private = scope["path"].startswith("/v1/")

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", request_id.encode("ascii")),
                    *(_OF_A_USER if private else _OF_ALL),
                ]
            await send(message)

        began = perf_counter()
        self._meter.request_began()
        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            _log.exception("request failed", extra={"method": scope["method"], "route": route_of(scope)})
            if status:
                raise  # half an answer cannot be taken back; the server closes the connection
            await error_response(internal_error())(scope, receive, send_with_id)
        finally:
            self._finish(scope, status or _CLIENT_WENT_AWAY, perf_counter() - began)
            current_request_id.reset(token)

    def _finish(self, scope: Scope, status: int, seconds: float) -> None:
        route = route_of(scope)
        self._meter.request_ended(route, scope["method"], status, seconds)
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug(
                "request",
                extra={"method": scope["method"], "route": route, "status": status, "seconds": round(seconds, 6)},
            )


def _request_id(scope: Scope) -> str:
    """The client's id if it is fit for a header and a log line, otherwise a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            text: str = value.decode("latin-1")
            if 0 < len(text) <= _LONGEST_ID and text.isascii() and text.isprintable():
                return text
            break
    return f"{getrandbits(128):032x}"
