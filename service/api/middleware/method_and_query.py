"""Middleware for methods and query strings: HEAD as GET, no repeated parameters."""

from __future__ import annotations

from urllib.parse import unquote_plus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.error_responses import error_response
from service.api.schemas.restrictions import LIST_PARAMETERS, PARAMETER
from service.api.schemas.validation_messages import MAX_DETAILS
from service.core.errors import InvalidRequest
from service.core.printable_text import printable


class HeadAsGet:
    """Middleware that answers HEAD like GET, without the body (RFC 9110)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on as GET."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_without_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        inner = {**scope, "method": "GET"}
        try:
            await self._app(inner, receive, send_without_body)
        finally:
            if "route" in inner:  # for the metrics
                scope["route"] = inner["route"]


class SingleParameters:
    """Middleware that refuses a query parameter that is given twice.

    Otherwise one of the values would be ignored silently, and a proxy might act on the other one. Exclusions and
    parameters of filters may be lists.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        details = _repeated(scope["query_string"]) if scope["type"] == "http" else []
        if not details:
            await self._app(scope, receive, send)
            return
        error = InvalidRequest("the request does not follow the contract", details=details[:MAX_DETAILS])
        await error_response(error)(scope, receive, send)


def _repeated(query_string: bytes) -> list[dict[str, object]]:
    if b"&" not in query_string:
        return []
    seen: dict[str, int] = {}
    for part in query_string.decode("latin-1").split("&"):
        if part:
            name = unquote_plus(part.partition("=")[0])
            seen[name] = seen.get(name, 0) + 1
    return [
        {"field": printable(name), "problem": "is given more than once; send it once"}
        for name, count in seen.items()
        if count > 1 and name not in LIST_PARAMETERS and not name.startswith(PARAMETER)
    ]
