"""Revision of the whole catalogue, as a text that clients pass back."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence

from service.core.catalogue_store import ShardPosition

_FORMAT = 1
_TOKEN_BYTES = 3  # of the digest of a position's token


class RevisionFormatError(ValueError):
    """The text is no revision of a catalogue."""


def encode_revision(positions: Sequence[ShardPosition]) -> str:
    """Encode the positions of all shards and of the definitions."""
    parts = bytearray([_FORMAT])
    for position in positions:
        parts += _varint(position.revision)
        if position.revision:
            parts += hashlib.blake2b(position.token.encode(), digest_size=_TOKEN_BYTES).digest()
    return base64.urlsafe_b64encode(parts).decode().rstrip("=")


def includes(newer: str, older: str) -> bool:
    """Return whether `newer` has all changes that `older` has.

    Compared per shard. Two changes with one number differ by their token, after a failover. Raises
    `RevisionFormatError`.
    """
    new, old = _decode(newer), _decode(older)
    if len(new) != len(old):
        raise RevisionFormatError("is of a catalogue with another number of shards")
    return all(ours[0] > theirs[0] or ours == theirs for ours, theirs in zip(new, old, strict=True))


def _decode(text: str) -> list[tuple[int, bytes]]:
    try:
        content = base64.b64decode(text + "=" * (-len(text) % 4), altchars="-_", validate=True)
    except (binascii.Error, ValueError):
        raise RevisionFormatError("is no revision of a catalogue") from None
    found: list[tuple[int, bytes]] = []
    position = 1
    if content[:1] != bytes([_FORMAT]):
        raise RevisionFormatError("is no revision of a catalogue")
    while position < len(content):
        revision = shift = 0
        while True:
            if position == len(content):
                raise RevisionFormatError("is cut off")
            byte = content[position]
            revision |= (byte & 0x7F) << shift
            shift, position = shift + 7, position + 1
            if byte < 0x80:
                break
        end = position + (_TOKEN_BYTES if revision else 0)
        if end > len(content):
            raise RevisionFormatError("is cut off")
        found.append((revision, content[position:end]))
        position = end
    return found


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])
