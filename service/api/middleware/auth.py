"""Host names, API keys, scopes and rate limits.

They are checked before a request's body is read.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from service.api import request_costs
from service.api.caller import ANONYMOUS_CALLER, CALLER, Caller
from service.api.connection.token_buckets import Bucket, TokenBuckets, network_of
from service.api.error_responses import error_response
from service.api.middleware.host_check import OwnHosts
from service.api.route_scopes import Needed, RouteScopes
from service.api.user_tokens import UserTokens, user_in_path
from service.api_keys import ApiKey, KeyScope, digest_of
from service.core.caller_name import ANONYMOUS, USER_TOKEN, current_caller
from service.core.errors import Forbidden, RateLimited, ServiceError, Unauthorized
from service.key_file import KeyRing
from service.observability.metrics import HttpMetrics

SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "user_token": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "Token of one user, signed with a key of RECBLR_USER_TOKEN_KEYS.",
    },
}


STRANGER_REQUESTS_PER_SECOND = 100  # of one address, without a valid key, in each worker
MAX_PRESENTED_KEYS = 8  # each is compared with every known key
STRANGER = Caller()  # sender of a request that needs no key
_PROBES = frozenset(("/healthz", "/readyz"))  # never limited: a balancer would take the worker for dead
_FOREIGN_HOST = (
    "the Host header names another server; call localhost or an address, name the host in RECBLR_ALLOWED_HOSTS, or "
    "set RECBLR_API_KEYS"
)
USER_TOKEN_SCOPES = frozenset((KeyScope.APPEND, KeyScope.READ))


class ApiKeys:
    """Middleware that refuses requests without a sufficient API key.

    On a server without keys everything is open, except for what needs the admin scope. Requests beyond the rate limit
    are refused too. Requests without a valid key have a limit of their own for each address, and never limit a
    valid key.

    Args:
        app: The application behind this middleware.
        keys: The keys that are valid now.
        tokens: Verifies the user tokens of browsers.
        scopes: Scopes of the routes.
        hosts: Names of this server; checked without keys.
        rate_limit: Requests per second for each key, in this process; None: no limit. Without keys all clients share
            one limit.
        metrics: Counts rate-limited requests.
        stranger_rate: Requests per second of one address without a valid key.
    """

    def __init__(
        self,
        app: ASGIApp,
        keys: KeyRing,
        tokens: UserTokens,
        scopes: RouteScopes,
        hosts: Iterable[str],
        rate_limit: int | None,
        metrics: HttpMetrics,
        stranger_rate: int = STRANGER_REQUESTS_PER_SECOND,
    ) -> None:
        self._app = app
        self._keys = keys
        self._tokens = tokens
        self._scopes = scopes
        self._own_hosts = None if keys.configured else OwnHosts(hosts)
        self._buckets = None if rate_limit is None else TokenBuckets(rate_limit)
        self._strangers = TokenBuckets(stranger_rate)
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its caller, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            caller, account = self._admit(scope)
            if self._buckets is not None and account:
                caller = self._within_rate(scope, self._buckets, account, caller)
            elif caller is STRANGER:
                self._limit_stranger(scope)
        except ServiceError as refusal:
            await error_response(self._limited(scope, refusal))(scope, receive, send)
            return
        scope[CALLER] = caller
        token = current_caller.set(caller.name)
        try:
            await self._app(scope, receive, send)
        finally:
            current_caller.reset(token)

    def _admit(self, scope: Scope) -> tuple[Caller, str]:
        """Return the caller and its account; raise the refusal.

        The account is that of the rate limit, "" if the request is not limited.
        """
        if self._own_hosts is not None:
            for name, value in scope["headers"]:
                if name == b"host" and not self._own_hosts.include(value):
                    raise Forbidden(_FOREIGN_HOST)
        needed = self._scopes.needed(scope["method"], scope["path"], scope["query_string"])
        if needed is None:
            return (ANONYMOUS_CALLER if scope["path"] in _PROBES else STRANGER), ""
        if not self._keys.configured and not self._tokens.configured:
            if KeyScope.ADMIN in needed.scopes:
                raise Forbidden("administration is closed until the server is started with RECBLR_API_KEYS set")
            return ANONYMOUS_CALLER, ANONYMOUS
        presented = _presented_keys(scope)
        if len(presented) > MAX_PRESENTED_KEYS:
            raise Unauthorized("the request has too many API keys; send one")
        if not presented:
            raise Unauthorized("send an API key as Authorization: Bearer <key> or as X-API-Key: <key>")
        matches = self._matching_keys(presented)
        for key in matches:
            if needed.scopes <= key.scopes:
                return Caller(key.name, admin=KeyScope.ADMIN in needed.scopes), key.name
        if matches:
            scope[CALLER] = Caller(matches[0].name)
            raise Forbidden(_lacking(needed.scopes, matches[0].scopes))
        if self._tokens.configured and (token := next((each for each in presented if b"." in each), None)):
            return self._admit_user(scope, needed, self._tokens.user_of(token))
        raise Unauthorized("the API key is unknown; ask the operator of this server for a key")

    def _admit_user(self, scope: Scope, needed: Needed, user_id: str) -> tuple[Caller, str]:
        """Return a user token's caller and account; raise the refusal."""
        caller = Caller(USER_TOKEN, user_id)
        scope[CALLER] = caller
        if not needed.scopes <= USER_TOKEN_SCOPES:
            raise Forbidden(_lacking(needed.scopes, USER_TOKEN_SCOPES))
        if needed.user_token is None:
            raise Forbidden("a user token is for its user's own events and recommendations; this needs an API key")
        if needed.user_token == "path" and (named := user_in_path(scope["path"])) is not None:  # noqa: S105
            caller.check_user(named)
        return caller, f"{USER_TOKEN} {user_id}"

    def _matching_keys(self, presented: Sequence[bytes]) -> list[ApiKey]:
        """Return the known keys among those presented."""
        # Every presented key is compared with every known one, so that the time reveals nothing about any key.
        digests = [digest_of(key) for key in presented]
        return [known for known in self._keys.keys for digest in digests if hmac.compare_digest(digest, known.digest)]

    def _limited(self, scope: Scope, refusal: ServiceError) -> ServiceError:
        """Return the refusal, or that of too many wrong keys."""
        if type(refusal) is Unauthorized:
            try:
                self._limit_stranger(scope)
            except RateLimited as limited:
                return limited
        return refusal

    def _limit_stranger(self, scope: Scope) -> None:
        """Raise `RateLimited` if this address sends too much without keys."""
        bucket = self._strangers.of(network_of(scope.get("client")))
        if not bucket.take():
            self._metrics.rate_limited(ANONYMOUS)
            raise RateLimited(
                "this address sends too many requests without a valid API key; wait for Retry-After seconds",
                retry_after_seconds=bucket.seconds_until_token(),
            )

    def _within_rate(self, scope: Scope, buckets: TokenBuckets, account: str, caller: Caller) -> Caller:
        """Return the caller with its account; raise `RateLimited`."""
        bucket = buckets.of(account)
        if not bucket.take():
            scope[CALLER] = caller
            self._metrics.rate_limited(caller.name)
            raise _too_much_work(bucket)
        bucket.charge(request_costs.of_query(len(scope["query_string"])))
        return caller._replace(account=_Account(bucket, caller.name, self._metrics))


class _Account:
    """Account of one request; see `service.api.caller.Account`."""

    __slots__ = ("_bucket", "_metrics", "_name")

    def __init__(self, bucket: Bucket, name: str, metrics: HttpMetrics) -> None:
        self._bucket = bucket
        self._name = name
        self._metrics = metrics

    def charge(self, units: float) -> None:
        """See `Account`."""
        self._bucket.charge(units)

    def admit(self, units: float) -> None:
        """See `Account`."""
        if not self._bucket.admit(units):
            self._metrics.rate_limited(self._name)
            raise _too_much_work(self._bucket)


def _too_much_work(bucket: Bucket) -> RateLimited:
    return RateLimited(
        "this API key has caused too much work lately; wait for Retry-After seconds and send less",
        retry_after_seconds=bucket.seconds_until_token(),
    )


def _lacking(needed: frozenset[KeyScope], held: frozenset[KeyScope]) -> str:
    lacks = " and ".join(sorted(needed - held))
    return f"this needs an API key with the scope {' and '.join(sorted(needed))}; this one lacks {lacks}"


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
