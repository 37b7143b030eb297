"""Revision of the whole catalogue, as a text that clients pass back."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Collection, Sequence
from typing import NamedTuple

from service.core.catalogue_store import ShardPosition

_EXACT, _CATCHING_UP = 1, 2  # formats
_TOKEN_BYTES = 3  # of the digest of a position's token
_MASK_BYTES = 2  # a bit for each shard that is being caught up with


class RevisionFormatError(ValueError):
    """The text is no revision of a catalogue."""


class Revision(NamedTuple):
    """Decoded revision.

    Attributes:
        positions: For each shard and the definitions the number of the newest change, and the digest of its token.
        catching_up: Shards of which some later changes were applied, and others not yet.
    """

    positions: Sequence[tuple[int, bytes]]
    catching_up: Collection[int] = ()

    def is_at(self, shard: int, position: ShardPosition) -> bool:
        """Return whether the shard is at exactly this position."""
        return self.positions[shard] == _digested(position)


def encode_revision(positions: Sequence[ShardPosition], catching_up: Collection[int] = ()) -> str:
    """Encode the positions of all shards and of the definitions; see `Revision`."""
    parts = bytearray([_EXACT])
    if catching_up:
        parts = bytearray([_CATCHING_UP]) + sum(1 << shard for shard in catching_up).to_bytes(_MASK_BYTES, "little")
    for position in positions:
        number, digest = _digested(position)
        parts += _varint(number) + digest
    return base64.urlsafe_b64encode(parts).decode().rstrip("=")


def includes(newer: str, older: str) -> bool:
    """Return whether `newer` has all changes up to the positions of `older`.

    Compared per shard. Two changes with one number differ by their token, after a failover. Raises
    `RevisionFormatError`.
    """
    new, old = decode_revision(newer).positions, decode_revision(older).positions
    if len(new) != len(old):
        raise RevisionFormatError("is of a catalogue with another number of shards")
    return all(ours[0] > theirs[0] or ours == theirs for ours, theirs in zip(new, old, strict=True))


def decode_revision(text: str) -> Revision:
    """Decode a revision; raises `RevisionFormatError`."""
    try:
        content = base64.b64decode(text + "=" * (-len(text) % 4), altchars="-_", validate=True)
    except (binascii.Error, ValueError):
        raise RevisionFormatError("is no revision of a catalogue") from None
    if content[:1] == bytes([_EXACT]):
        return Revision(_decode_positions(content[1:]))
    if content[:1] != bytes([_CATCHING_UP]) or len(content) <= _MASK_BYTES:
        raise RevisionFormatError("is no revision of a catalogue")
    mask = int.from_bytes(content[1 : 1 + _MASK_BYTES], "little")
    catching_up = frozenset(shard for shard in range(8 * _MASK_BYTES) if mask >> shard & 1)
    return Revision(_decode_positions(content[1 + _MASK_BYTES :]), catching_up)


def _decode_positions(content: bytes) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    position = 0
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


def _digested(position: ShardPosition) -> tuple[int, bytes]:
    if not position.revision:
        return 0, b""
    return position.revision, hashlib.blake2b(position.token.encode(), digest_size=_TOKEN_BYTES).digest()


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])
