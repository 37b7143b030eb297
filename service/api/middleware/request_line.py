"""Middleware for the request line: bounds, HEAD as GET, no repeated parameters."""

from __future__ import annotations

from urllib.parse import unquote_plus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.caller import caller_of, set_caller
from service.api.errors import error_response
from service.api.schemas.validation_messages import MAX_DETAILS, printable
from service.core.errors import InvalidRequest

MAX_PATH_BYTES = 8 * 1024  # two ids of 256 characters take 6 KiB, percent-encoded
MAX_PARAMETERS = 2048
_CHECKED_BYTES = MAX_PARAMETERS


class RequestLine:
    """Middleware that refuses overlong paths and queries, and answers HEAD like GET.

    HEAD gets the same answer without its body (RFC 9110). The head of a request may have 64 KiB; all of it as query
    parameters would take 25 ms to parse and to refuse one by one.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on as GET, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        query: bytes = scope["query_string"]
        if len(scope["path"]) > MAX_PATH_BYTES:
            refusal = InvalidRequest("the path is longer than 8 KiB; ids have at most 256 characters")
            await error_response(refusal)(scope, receive, send)
            return
        if len(query) > _CHECKED_BYTES and query.count(b"&") >= MAX_PARAMETERS:
            await error_response(InvalidRequest("there are too many query parameters"))(scope, receive, send)
            return
        if scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_without_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        inner = {**scope, "method": "GET"}
        try:
            await self._app(inner, receive, send_without_body)
        finally:
            set_caller(scope, caller_of(inner))  # for the access log
            if "route" in inner:  # for the metrics
                scope["route"] = inner["route"]


class SingleParameters:
    """Middleware that refuses a query parameter that is given twice.

    Otherwise one of the values would be ignored silently, and a proxy might act on the other one.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        repeated = _repeated(scope["query_string"]) if scope["type"] == "http" else []
        if not repeated:
            await self._app(scope, receive, send)
            return
        details: list[dict[str, object]] = [
            {"field": printable(name), "problem": "is given more than once; send it once"}
            for name in repeated[:MAX_DETAILS]
        ]
        error = InvalidRequest("the request does not follow the contract", details=details)
        await error_response(error)(scope, receive, send)


def _repeated(query_string: bytes) -> list[str]:
    if b"&" not in query_string:
        return []
    seen: dict[str, int] = {}
    for part in query_string.decode("latin-1").split("&"):
        if part:
            name = unquote_plus(part.partition("=")[0])
            seen[name] = seen.get(name, 0) + 1
    return [name for name, count in seen.items() if count > 1]
