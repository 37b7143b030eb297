"""Who may call what, and how often: API keys with scopes, compared in constant time, before a body is read."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.errors import error_response
from service.api.middleware.rate_limit import TokenBuckets
from service.api.scopes import RouteScopes
from service.api_keys import ApiKey, KeyScope, digest_of
from service.core.errors import Forbidden, RateLimited, ServiceError, Unauthorized
from service.observability.metrics import PrometheusMeter

SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
_WITHOUT_KEYS = frozenset((KeyScope.READ, KeyScope.WRITE))


class ApiKeys:
    """Guards what `scopes` names if `keys` holds any; without keys all is open but what needs the admin scope.

    `rate` is how many requests a second each key may make here; without keys all clients share one allowance.
    """

    def __init__(
        self,
        app: ASGIApp,
        keys: Sequence[ApiKey],
        scopes: RouteScopes,
        rate: int | None,
        meter: PrometheusMeter,
    ) -> None:
        self._app = app
        self._keys = tuple(keys)
        self._scopes = scopes
        self._buckets = None if rate is None else TokenBuckets(rate, max(1, len(keys)))
        self._meter = meter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI scope."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await error_response(refusal)(scope, receive, send)

    def _refusal(self, scope: Scope) -> ServiceError | None:
        allowing = self._scopes.allowing(scope["method"], scope["path"])
        if allowing is None:
            return None
        if not self._keys:
            if allowing & _WITHOUT_KEYS:
                return self._refusal_of_rate(0)
            return Forbidden("administration is closed until the server is started with RECBLR_API_KEYS set")
        return self._refusal_of_keys(_presented(scope), allowing)

    def _refusal_of_keys(self, presented: Sequence[bytes], allowing: frozenset[KeyScope]) -> ServiceError | None:
        if not presented:
            return Unauthorized("send an API key as Authorization: Bearer <key> or as X-API-Key: <key>")
        # Every hash is compared with every other, whatever matched before: the time says nothing about any key.
        digests = [digest_of(key) for key in presented]
        matches = [
            index
            for index, known in enumerate(self._keys)
            for digest in digests
            if hmac.compare_digest(digest, known.digest)
        ]
        if not matches:
            return Unauthorized("the API key is not known; send one that this server was given")
        for index in matches:
            if allowing & self._keys[index].scopes:
                return self._refusal_of_rate(index)
        return Forbidden(f"this needs a key with the scope {' or '.join(sorted(allowing))}, which this one lacks")

    def _refusal_of_rate(self, index: int) -> ServiceError | None:
        if self._buckets is None or self._buckets.take(index):
            return None
        self._meter.rate_limited(index + 1)
        return RateLimited("this API key makes more requests a second than it may; wait a second and send fewer")


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
