"""API keys: scopes, and the entries of `RECBLR_API_KEYS`.

The server keeps one SHA-256 of each key. A slow password hash would add nothing: a key of 256 random bits cannot be
guessed (decision 0020).
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

MIN_KEY_LENGTH = 16
_HASHED = re.compile(r"(?:([A-Za-z0-9][A-Za-z0-9._-]{0,63})=)?([a-z+]+):sha256:([0-9a-fA-F]{64})")


class KeyScope(StrEnum):
    """Permission of a key. No scope includes another."""

    APPEND = "append"  # append events
    READ = "read"  # get recommendations, read the event log, audit it
    ERASE = "erase"  # delete events and users; merging users needs append too
    CATALOGUE = "catalogue"  # change items, attributes and filters
    METRICS = "metrics"  # scrape the metrics
    ADMIN = "admin"  # change the model version, run A/B tests, see backfills


ALL_SCOPES = frozenset(KeyScope)
RETIRED_SCOPE = "write"
SCOPE_NAMES = f"{', '.join(list(KeyScope)[:-1])} and {list(KeyScope)[-1]}"


class RetiredScopeError(ValueError):
    """The scope `write` was replaced; the message says by which scopes."""

    def __init__(self) -> None:
        super().__init__(
            "the scope write no longer exists: use append to send events (append+read to get recommendations with "
            "them) and append+erase to undo events and to delete or merge users"
        )


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A known key: the SHA-256 of its bytes, its scopes, its name.

    The name says in logs and metrics who called. It is not secret.
    """

    digest: bytes
    scopes: frozenset[KeyScope]
    name: str


def digest_of(key: bytes) -> bytes:
    """Return the SHA-256 of `key`, 32 bytes."""
    return hashlib.sha256(key).digest()


def parse_scopes(text: str) -> frozenset[KeyScope]:
    """Parse scopes such as `append+read`; raises ValueError."""
    if RETIRED_SCOPE in text.split("+"):
        raise RetiredScopeError
    return frozenset(KeyScope(name) for name in text.split("+"))


def parse_key(entry: str, default_name: str = "key") -> ApiKey:
    """Parse one entry: `shop=append+read:sha256:<64 hex digits>`, or a plain key.

    The name before `=` may be left out; then the key is called `default_name`.

    A plain key has every scope. An entry that looks like a malformed hashed one is refused: as a plain key it would
    have every scope.

    Raises:
        ValueError: The entry is not valid; the message never repeats it.
    """
    if hashed := _HASHED.fullmatch(entry):
        return ApiKey(bytes.fromhex(hashed[3]), parse_scopes(hashed[2]), hashed[1] or default_name)
    before, colon, _ = entry.rpartition("=")[2].partition(":")
    if "sha256:" in entry or (colon and set(before.split("+")) <= {*ALL_SCOPES, RETIRED_SCOPE}):
        raise ValueError("not of the form <name>=<scopes>:sha256:<64 hex digits>")
    if len(entry) < MIN_KEY_LENGTH or not (entry.isascii() and entry.isprintable()) or " " in entry:
        raise ValueError("not usable as a key")
    return ApiKey(digest_of(entry.encode()), ALL_SCOPES, default_name)


def new_key(scopes: Iterable[KeyScope]) -> tuple[str, str]:
    """Create a key of 256 random bits; return it and its entry."""
    key = secrets.token_urlsafe(32)
    return key, f"{'+'.join(sorted(scopes))}:sha256:{digest_of(key.encode()).hex()}"
