"""A bound on bodies, kept while they arrive: what is too large is never held in memory."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.errors import error_response
from service.core.errors import PayloadTooLarge

LARGEST_BODY = 4 * 1024 * 1024


class BodyLimit:
    """Refuses a request whose declared or actual body is larger than `LARGEST_BODY`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI scope."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if _declared(scope) > LARGEST_BODY:
            error = PayloadTooLarge("the body is larger than 4 MiB; send less in one request")
            await error_response(error)(scope, receive, send)
            return
        received = 0

        async def receive_within_limit() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > LARGEST_BODY:
                # The framework passes on its own exceptions alone from where it reads the body.
                raise HTTPException(413)
            return message

        await self._app(scope, receive_within_limit, send)


def _declared(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0
