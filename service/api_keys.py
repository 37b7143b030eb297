"""API keys: what a key may do, and the forms in which `RECBLR_API_KEYS` names one. Only hashes are kept.

The hash is one plain SHA-256, computed for every request. A slow hash protects a password, which people choose and
attackers guess; a key of 256 random bits, as `new_key` makes it, cannot be guessed at any speed.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

SHORTEST_KEY = 16
_HASHED = re.compile(r"([a-z+]+):sha256:([0-9a-fA-F]{64})")


class KeyScope(StrEnum):
    """What a key may do. No scope contains another: a key has those that it was given."""

    READ = "read"  # ask for answers, read what the log holds, scrape the metrics
    WRITE = "write"  # append events (their answers included), undo them, delete users
    ADMIN = "admin"  # replace the model


ALL_SCOPES = frozenset(KeyScope)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key that the server knows: the SHA-256 of its bytes, and its scopes."""

    digest: bytes
    scopes: frozenset[KeyScope]


def digest_of(key: bytes) -> bytes:
    """The 32 bytes by which the server knows `key`."""
    return hashlib.sha256(key).digest()


def parse_scopes(text: str) -> frozenset[KeyScope]:
    """The scopes of `read+write`; raises ValueError."""
    return frozenset(KeyScope(name) for name in text.split("+"))


def parse_key(entry: str) -> ApiKey:
    """One entry of the setting: `read+write:sha256:<64 hex digits>`, or a key in clear, which may do everything.

    Raises ValueError, whose message never repeats the entry. An entry that looks like a scoped one and is none is not
    taken for a key in clear: it would have every scope.
    """
    if hashed := _HASHED.fullmatch(entry):
        return ApiKey(bytes.fromhex(hashed[2]), parse_scopes(hashed[1]))
    before, colon, _ = entry.partition(":")
    if "sha256:" in entry or (colon and set(before.split("+")) <= ALL_SCOPES):
        raise ValueError("not of the form <scopes>:sha256:<64 hex digits>")
    if len(entry) < SHORTEST_KEY or not (entry.isascii() and entry.isprintable()) or " " in entry:
        raise ValueError("not usable as a key")
    return ApiKey(digest_of(entry.encode()), ALL_SCOPES)


def new_key(scopes: Iterable[KeyScope]) -> tuple[str, str]:
    """A key of 256 random bits, and the entry by which the server will know it."""
    key = secrets.token_urlsafe(32)
    return key, f"{'+'.join(sorted(scopes))}:sha256:{digest_of(key.encode()).hex()}"
