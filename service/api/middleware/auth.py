"""API keys and scopes, checked before a request's body is read.

The rate limit is checked here too, because it applies to each key.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.errors import error_response
from service.api.middleware.rate_limit import TokenBuckets
from service.api.scopes import RouteScopes
from service.api_keys import ApiKey, KeyScope, digest_of
from service.core.errors import Forbidden, RateLimited, ServiceError, Unauthorized
from service.observability.metrics import HttpMetrics

SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


class ApiKeys:
    """Middleware that refuses requests without a sufficient API key.

    On a server without keys everything is open, except for what needs the admin scope.

    Args:
        app: The application behind this middleware.
        keys: Known keys.
        scopes: Scopes of the routes.
        rate_limit: Requests per second for each key, in this process; None: no limit. Without keys all clients share
            one limit.
        metrics: Counts rate-limited requests.
    """

    def __init__(
        self,
        app: ASGIApp,
        keys: Sequence[ApiKey],
        scopes: RouteScopes,
        rate_limit: int | None,
        metrics: HttpMetrics,
    ) -> None:
        self._app = app
        self._keys = tuple(keys)
        self._scopes = scopes
        self._buckets = None if rate_limit is None else TokenBuckets(rate_limit, max(1, len(keys)))
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        refusal = self._check(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await error_response(refusal)(scope, receive, send)

    def _check(self, scope: Scope) -> ServiceError | None:
        needed = self._scopes.needed(scope["method"], scope["path"], scope["query_string"])
        if needed is None:
            return None
        if not self._keys:
            if KeyScope.ADMIN not in needed:
                return self._check_rate(0)
            return Forbidden("administration is closed until the server is started with RECBLR_API_KEYS set")
        return self._check_keys(_presented_keys(scope), needed)

    def _check_keys(self, presented: Sequence[bytes], needed: frozenset[KeyScope]) -> ServiceError | None:
        if not presented:
            return Unauthorized("send an API key as Authorization: Bearer <key> or as X-API-Key: <key>")
        # Every presented key is compared with every known one, so that the time reveals nothing about any key.
        digests = [digest_of(key) for key in presented]
        matches = [
            index
            for index, known in enumerate(self._keys)
            for digest in digests
            if hmac.compare_digest(digest, known.digest)
        ]
        if not matches:
            return Unauthorized("the API key is unknown; ask the operator of this server for a key")
        for index in matches:
            if needed <= self._keys[index].scopes:
                return self._check_rate(index)
        missing = needed - self._keys[matches[0]].scopes
        return Forbidden(
            f"this needs an API key with the scope {' and '.join(sorted(needed))}; this key lacks "
            f"{' and '.join(sorted(missing))}"
        )

    def _check_rate(self, index: int) -> ServiceError | None:
        if self._buckets is None or self._buckets.take(index):
            return None
        self._metrics.rate_limited(index + 1)
        return RateLimited("too many requests per second with this API key; wait a second and send fewer")


def _presented_keys(scope: Scope) -> list[bytes]:
    """Return every key of the request.

    There may be several: a proxy or a browser can add credentials to the client's.
    """
    keys = []
    for name, value in scope["headers"]:
        if name == b"x-api-key":
            keys.append(bytes(value).strip())
        elif name == b"authorization":
            scheme, _, key = bytes(value).partition(b" ")
            if scheme.lower() == b"bearer":
                keys.append(key.strip())
    return keys
