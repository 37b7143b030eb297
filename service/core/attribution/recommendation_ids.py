"""Recommendation ids: signed texts that name an answer (decision 0124).

An id needs no storage: it holds what the counters need to know about the answer. Its text is a letter and base64url
(RFC 4648, without padding) of:

    byte      format, 1
    byte      number of the signing key
    uint16    placement, 0: reserved
    uint32    seconds for which events count
    uint16    n: the impressions of one id of n are counted, n times
    4 bytes   digest of the catalogue's revision; 0 while it is empty
    4 bytes   digest of the A/B test; 0 without one
    byte      size of the model version in bytes
              model version
    uint32    time of the answer, in Unix seconds
    4 bytes   for each of the first 50 items: CRC-32 of its id
    12 bytes  keyed BLAKE2b (RFC 7693) of all that is before

All numbers are little-endian. The letter says whether impressions are wanted: "i" if they are, "n" if not.
"""

from __future__ import annotations

import binascii
import hmac
import struct
from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple
from zlib import crc32

MAX_POSITIONS = 50
MAX_ID_LENGTH = 512  # characters; the longest id has 481
NO_EXPERIMENT = bytes(4)

_FORMAT = 1
_PLACEMENT = 0
_HEADER = struct.Struct("<BBHIH4s4sB")
_HASH_BYTES = 4
_TAG_BYTES = 12
_SAMPLED, _NOT_SAMPLED = "i", "n"
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_STANDARD = bytes.maketrans(b"-_", b"+/")
_TIME_AND_HASHES = [struct.Struct(f"<{1 + count}I") for count in range(MAX_POSITIONS + 1)]
_MAX_HEADS = 64


class Recommendation(NamedTuple):
    """Content of a valid id.

    Attributes:
        placement: Reserved; 0.
        model_version: Model version of the answer.
        issued_at: Time of the answer, in Unix seconds.
        expires_at: Time from which on events do not count.
        impression_weight: How often an impression counts; 0: not at all.
        catalogue: Digest of the catalogue's revision.
        experiment: Digest of the A/B test, as hexadecimal digits; "" without one.
        item_hashes: CRC-32 of the items' ids, by position.
    """

    placement: int
    model_version: str
    issued_at: int
    expires_at: int
    impression_weight: int
    catalogue: bytes
    experiment: str
    item_hashes: tuple[int, ...]

    def position_of(self, item_id: str) -> int | None:
        """Return the item's position, from 1; None if the answer lacks it."""
        try:
            return self.item_hashes.index(item_hash(item_id)) + 1
        except ValueError:
            return None


def item_hash(item_id: str) -> int:
    """Return the hash of an item's id."""
    return crc32(item_id.encode())


class _Key(NamedTuple):
    number: int
    secret: bytes


class RecommendationIds:
    """Signs and reads recommendation ids.

    Args:
        keys: The current and the previous key. The current one signs.
        lifetime_seconds: How long after the answer events count.
        impression_sample: The impressions of one id of this many are counted.
    """

    def __init__(self, keys: Sequence[bytes], lifetime_seconds: int, impression_sample: int = 1) -> None:
        self._keys = tuple(_derive(key) for key in keys)
        self._lifetime_seconds = lifetime_seconds
        self._impression_sample = impression_sample
        self._keyed = blake2b(key=self._keys[0].secret, digest_size=_TAG_BYTES)  # a copy is made faster
        self._heads: dict[tuple[str, str | None, bytes], bytes] = {}

    def issue(
        self,
        model_version: str,
        item_hashes: Sequence[int],
        now: float,
        revision: str | None = None,
        experiment: bytes = NO_EXPERIMENT,
    ) -> str:
        """Return the id of an answer.

        Args:
            model_version: Model version that answered.
            item_hashes: `item_hash` of the first items, best first; at most MAX_POSITIONS.
            now: Unix seconds.
            revision: The catalogue's revision; None while it is empty.
            experiment: Digest of the A/B test.
        """
        parts = model_version, revision, experiment
        head = self._heads.get(parts) or self._head(*parts)
        signed = head + _TIME_AND_HASHES[len(item_hashes)].pack(int(now), *item_hashes)
        keyed = self._keyed.copy()
        keyed.update(signed)
        return _text(signed, keyed.digest(), self._impression_sample)

    def _head(self, model_version: str, revision: str | None, experiment: bytes) -> bytes:
        """Return what is equal in many ids, and keep it."""
        if len(self._heads) >= _MAX_HEADS:
            self._heads.clear()
        version = model_version.encode()
        catalogue = NO_EXPERIMENT if revision is None else digest4(revision)
        rules = self._lifetime_seconds, self._impression_sample
        head = _HEADER.pack(_FORMAT, self._keys[0].number, _PLACEMENT, *rules, catalogue, experiment, len(version))
        self._heads[model_version, revision, experiment] = head + version
        return head + version

    def read(self, text: str) -> Recommendation | None:
        """Return the content of an id; None unless its signature is right.

        The signature is checked before anything is parsed.
        """
        if not 0 < len(text) <= MAX_ID_LENGTH or not text.isascii():
            return None
        encoded = text[1:].encode().translate(_STANDARD)
        try:
            raw = binascii.a2b_base64(encoded + b"=" * (-len(encoded) % 4), strict_mode=True)
        except binascii.Error:
            return None
        signed, tag = raw[:-_TAG_BYTES], raw[-_TAG_BYTES:]
        # Every key is compared, so that the time does not tell which one signed.
        right = [
            hmac.compare_digest(blake2b(signed, key=secret, digest_size=_TAG_BYTES).digest(), tag)
            for _, secret in self._keys
        ]
        return _parse(signed, tag, text) if any(right) else None


def _parse(signed: bytes, tag: bytes, text: str) -> Recommendation | None:
    """Parse a signed id; None for an unknown format."""
    if len(signed) < _HEADER.size or signed[0] != _FORMAT:
        return None
    _, _, placement, lifetime, sample, catalogue, experiment, size = _HEADER.unpack_from(signed)
    if _text(signed, tag, sample) != text:  # another letter, or other unused bits at the end
        return None
    end = _HEADER.size + size
    count = (len(signed) - end) // _HASH_BYTES - 1
    issued_at, *item_hashes = _TIME_AND_HASHES[count].unpack_from(signed, end)
    return Recommendation(
        placement=placement,
        model_version=signed[_HEADER.size : end].decode(),
        issued_at=issued_at,
        expires_at=issued_at + lifetime,
        impression_weight=sample if text[0] == _SAMPLED else 0,
        catalogue=catalogue,
        experiment="" if experiment == NO_EXPERIMENT else experiment.hex(),
        item_hashes=tuple(item_hashes),
    )


def _text(signed: bytes, tag: bytes, sample: int) -> str:
    """Return an id's text; the tag decides whether it is sampled."""
    letter = _SAMPLED if sample == 1 or int.from_bytes(tag[:4]) % sample == 0 else _NOT_SAMPLED
    return letter + binascii.b2a_base64(signed + tag, newline=False).translate(_URL_SAFE, b"=").decode()


def digest4(text: str) -> bytes:
    """Return a digest of 4 bytes that are not all 0."""
    found = blake2b(text.encode(), digest_size=4).digest()
    return found if found != NO_EXPERIMENT else b"\1\0\0\0"


def _derive(key: bytes) -> _Key:
    """Return the secret and the number of a configured key."""
    secret = blake2b(key, digest_size=32, person=b"recblr-ids").digest()
    return _Key(blake2b(secret, digest_size=1).digest()[0], secret)
