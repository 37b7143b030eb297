"""Who may call: API keys, compared in constant time, before anything of the body is read."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.errors import error_response
from service.core.errors import Forbidden, ServiceError, Unauthorized

SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


class ApiKeys:
    """Guards /v1 and /metrics if `keys` holds any; without keys these are open and /v1/admin is closed."""

    def __init__(self, app: ASGIApp, keys: Sequence[str]) -> None:
        self._app = app
        self._digests = [_digest(key.encode()) for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI scope."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await error_response(refusal)(scope, receive, send)

    def _refusal(self, scope: Scope) -> ServiceError | None:
        path: str = scope["path"]
        if not self._digests:
            if path.startswith("/v1/admin/"):
                return Forbidden("administration is closed until the server is started with RECBLR_API_KEYS set")
            return None
        if not (path.startswith("/v1/") or path == "/metrics"):
            return None
        presented = [_digest(key) for key in _presented(scope)]
        if not presented:
            return Unauthorized("send an API key as Authorization: Bearer <key> or as X-API-Key: <key>")
        # All are compared with all, and hashes of equal length: the time says nothing about any key.
        matches = [hmac.compare_digest(digest, known) for digest in presented for known in self._digests]
        return None if any(matches) else Unauthorized("the API key is not known; send one that this server was given")


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _presented(scope: Scope) -> list[bytes]:
    """Every key of the request: a proxy or a browser may add credentials of its own to the client's."""
    keys = []
    for name, value in scope["headers"]:
        if name == b"x-api-key":
            keys.append(bytes(value).strip())
        elif name == b"authorization":
            scheme, _, key = bytes(value).partition(b" ")
            if scheme.lower() == b"bearer":
                keys.append(key.strip())
    return keys
