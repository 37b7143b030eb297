"""Middleware for methods, paths and query strings."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from urllib.parse import unquote_plus

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.caller import caller_of, set_caller
from service.api.errors import error_response
from service.api.query_ids import QueryForm
from service.api.schemas.validation_messages import MAX_DETAILS, printable
from service.core.errors import InvalidRequest

_ID_PROBLEMS = "recblr.id_problems"


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
            set_caller(scope, caller_of(inner))  # for the access log
            if "route" in inner:  # for the metrics
                scope["route"] = inner["route"]


class PrefixRedirect:
    """Middleware that redirects from `/prefix` to `/prefix/`, the console.

    The links of the page are relative, so its path must end in a slash.
    """

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app = app
        self._location = f"{root_path}/"

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Pass the request on, or redirect it."""
        if scope["type"] == "http" and not scope["path"]:
            return RedirectResponse(self._location, 308)(scope, receive, send)
        return self._app(scope, receive, send)


class IdsInQuery:
    """Middleware that moves ids from the query into the path (`query_ids`).

    Everything behind it, the check of keys included, sees one form only.
    """

    def __init__(self, app: ASGIApp, forms: Mapping[str, QueryForm]) -> None:
        self._app = app
        self._forms = forms

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Pass the request on."""
        if scope["type"] == "http" and (form := self._forms.get(scope["path"])) is not None:
            path, rest, problems = form.fill(scope["query_string"])
            if problems:
                scope[_ID_PROBLEMS] = problems  # told behind the check of keys
            else:
                scope["path"], scope["query_string"] = path, rest
        return self._app(scope, receive, send)


class SingleParameters:
    """Middleware that refuses a query parameter that is given twice, and ids that are missing there.

    Otherwise one of the values would be ignored silently, and a proxy might act on the other one.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        details = (scope.get(_ID_PROBLEMS) or _repeated(scope["query_string"])) if scope["type"] == "http" else []
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
        if count > 1
    ]
