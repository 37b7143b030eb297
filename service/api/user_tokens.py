"""User tokens: short-lived credentials of one user, for browsers (decision 0091).

A token is a JSON Web Token (RFC 7519) signed with HMAC-SHA256 (`HS256`), with the claims

    aud    "recblr"
    sub    the user's id
    exp    Unix seconds at which the token expires, at most an hour ahead

The shop's own server signs it. Any library for such tokens can, and ten lines without one (docs/api.md).
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections.abc import Callable, Sequence
from time import time
from urllib.parse import unquote_to_bytes

from pydantic import TypeAdapter, ValidationError

from service.api.schemas.field_types import Identifier
from service.core.errors import TokenExpired, Unauthorized

AUDIENCE = "recblr"
MAX_SECONDS = 3600
CLOCK_TOLERANCE_SECONDS = 60  # how far the signer's clock may be ahead of ours
MAX_TOKEN_BYTES = 8192  # a user id of 256 characters needs up to 4,096

_USER_ID = TypeAdapter(Identifier).validator
_REFUSED = "the user token is not valid; get a new one from the server that signs them"
_EXPIRED = "the user token has expired; get a new one from the server that signs them"


class UserTokens:
    """Verifies user tokens.

    Args:
        keys: Signing keys: the current and the previous one. Without any, no token is valid.
        clock: Unix seconds.
    """

    def __init__(self, keys: Sequence[bytes] = (), clock: Callable[[], float] = time) -> None:
        self.configured = bool(keys)
        self._keys = tuple(keys)
        self._clock = clock

    def user_of(self, token: bytes) -> str:
        """Return the token's user; raises `Unauthorized`.

        Nothing of the token is parsed before its signature is known to be right.
        """
        if len(token) > MAX_TOKEN_BYTES or token.count(b".") != 2:
            raise Unauthorized(_REFUSED)
        signed, _, signature = token.rpartition(b".")
        # Every key is compared, so that the time does not tell which one signed.
        right = [hmac.compare_digest(_encoded(hmac.digest(key, signed, "sha256")), signature) for key in self._keys]
        if not any(right):
            raise Unauthorized(_REFUSED)
        header, _, payload = signed.partition(b".")
        algorithm, claims = _decoded(header).get("alg"), _decoded(payload)
        expires_at, user_id = claims.get("exp"), claims.get("sub")
        if algorithm != "HS256" or claims.get("aud") != AUDIENCE or "nbf" in claims:
            raise Unauthorized(_REFUSED)
        if isinstance(expires_at, bool) or not isinstance(expires_at, int | float):
            raise Unauthorized(_REFUSED)
        now = self._clock()
        if not expires_at > now:  # not a number is refused too
            raise TokenExpired(_EXPIRED)
        if expires_at > now + MAX_SECONDS + CLOCK_TOLERANCE_SECONDS:
            raise Unauthorized("a user token may be valid for an hour at most; sign one that expires earlier")
        try:
            return str(_USER_ID.validate_python(user_id, strict=True))
        except ValidationError:
            raise Unauthorized(_REFUSED) from None


def user_in_path(path: str) -> str | None:
    """Return the user id of a path `/v1/users/{user_id}…`."""
    parts = path.split("/")
    if len(parts) < 4 or parts[:3] != ["", "v1", "users"]:
        return None
    try:
        return unquote_to_bytes(parts[3].encode("latin-1")).decode("utf-8")
    except UnicodeDecodeError:
        return None


def _encoded(digest: bytes) -> bytes:
    return base64.urlsafe_b64encode(digest).rstrip(b"=")


def _decoded(part: bytes) -> dict[str, object]:
    """Decode one part of a correctly signed token; raises `Unauthorized`."""
    try:
        value = json.loads(base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        raise Unauthorized(_REFUSED) from None
    if not isinstance(value, dict):
        raise Unauthorized(_REFUSED)
    return value
