"""Recommendation ids: signed texts that name an answer (decision 0124).

An id needs no storage: it holds what the counters need to know about the answer. It is the concatenation of

    letter    "i" if impressions are wanted, "n" if not
    start     base64url (RFC 4648, without padding) of the header below
    items     4 characters for each of the first 50 items: base64url of 24 bits of the CRC-32 of its id
    tag       24 hexadecimal digits: keyed BLAKE2b (RFC 7693) of start and items

The header, with all numbers little-endian, has a multiple of 3 bytes, so that every part has a text of its own:

    byte      format, 1
    byte      number of the signing key
    uint16    placement, 0: reserved
    uint32    seconds for which events count
    uint16    n: the impressions of one id of n are counted, n times
    4 bytes   digest of the catalogue's revision; 0 while it is empty
    4 bytes   digest of the A/B test; 0 without one
    uint32    time of the answer, in Unix seconds
    byte      size of the model version in bytes
              model version, and up to 2 zero bytes
"""

from __future__ import annotations

import hmac
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import NamedTuple
from zlib import crc32

MAX_POSITIONS = 50
MAX_ID_LENGTH = 512  # characters; the longest id has 429
NO_EXPERIMENT = bytes(4)

_FORMAT = 1
_PLACEMENT = 0
_HEADER = struct.Struct("<BBHIH4s4sIB")
_HASH_CHARACTERS = 4
_TAG_BYTES = 12
_TAG_CHARACTERS = 2 * _TAG_BYTES
_SAMPLED, _NOT_SAMPLED = "i", "n"
_MAX_STARTS = 64


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
        item_hashes: `item_hash` of the items, by position.
    """

    placement: int
    model_version: str
    issued_at: int
    expires_at: int
    impression_weight: int
    catalogue: bytes
    experiment: str
    item_hashes: tuple[str, ...]

    def position_of(self, item_id: str) -> int | None:
        """Return the item's position, from 1; None if the answer lacks it."""
        try:
            return self.item_hashes.index(item_hash(item_id)) + 1
        except ValueError:
            return None


def item_hash(item_id: str) -> str:
    """Return the hash of an item's id, in 4 characters."""
    return urlsafe_b64encode(crc32(item_id.encode()).to_bytes(4, "little")[:3]).decode()


class _Key(NamedTuple):
    """A signing key."""

    number: int
    secret: bytes

    def signature(self, text: str) -> blake2b:
        """Return the signature of an ASCII text."""
        return blake2b(text.encode(), key=self.secret, digest_size=_TAG_BYTES)


class _Start(NamedTuple):
    """Start of an id, and the state of its signature."""

    text: str
    keyed: blake2b


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
        self._starts: dict[tuple[str, str | None, bytes, int], _Start] = {}

    def issue(
        self,
        model_version: str,
        item_hashes: Iterable[str],
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
        parts = model_version, revision, experiment, int(now)
        start, keyed = self._starts.get(parts) or self._start(*parts)
        hashes = "".join(item_hashes)
        signature = keyed.copy()  # faster than to sign the start again
        signature.update(hashes.encode())
        tag = signature.hexdigest()
        if self._impression_sample > 1 and not _is_sampled(tag, self._impression_sample):
            return f"{_NOT_SAMPLED}{start[1:]}{hashes}{tag}"
        return f"{start}{hashes}{tag}"

    def _start(self, model_version: str, revision: str | None, experiment: bytes, now: int) -> _Start:
        """Return and keep what all ids of a second share."""
        if len(self._starts) >= _MAX_STARTS:
            self._starts.clear()
        key, version = self._keys[0], model_version.encode()
        catalogue = NO_EXPERIMENT if revision is None else digest4(revision)
        rules = self._lifetime_seconds, self._impression_sample
        header = _HEADER.pack(_FORMAT, key.number, _PLACEMENT, *rules, catalogue, experiment, now, len(version))
        header += version
        text = urlsafe_b64encode(header + bytes(-len(header) % 3)).decode()
        start = _Start(_SAMPLED + text, key.signature(text))
        self._starts[model_version, revision, experiment, now] = start
        return start

    def read(self, text: str) -> Recommendation | None:
        """Return the content of an id; None unless its signature is right.

        The signature is checked before anything is parsed.
        """
        if not _TAG_CHARACTERS < len(text) <= MAX_ID_LENGTH or not text.isascii():
            return None
        signed, tag = text[1:-_TAG_CHARACTERS], text[-_TAG_CHARACTERS:]
        # Every key is compared, so that the time does not tell which one signed.
        right = [hmac.compare_digest(key.signature(signed).hexdigest(), tag) for key in self._keys]
        return _parse(text[0], signed, tag) if any(right) else None


def _parse(letter: str, signed: str, tag: str) -> Recommendation | None:
    """Parse a signed id; None for another format or letter."""
    header = urlsafe_b64decode(signed[: len(signed) // 4 * 4])
    if len(header) < _HEADER.size or header[0] != _FORMAT:
        return None
    _, _, placement, lifetime, sample, catalogue, experiment, issued_at, size = _HEADER.unpack_from(header)
    if letter != (_SAMPLED if _is_sampled(tag, sample) else _NOT_SAMPLED):
        return None
    end = _HEADER.size + size
    items = range((end + 2) // 3 * 4, len(signed), _HASH_CHARACTERS)
    return Recommendation(
        placement=placement,
        model_version=header[_HEADER.size : end].decode(),
        issued_at=issued_at,
        expires_at=issued_at + lifetime,
        impression_weight=sample if letter == _SAMPLED else 0,
        catalogue=catalogue,
        experiment="" if experiment == NO_EXPERIMENT else experiment.hex(),
        item_hashes=tuple([signed[at : at + _HASH_CHARACTERS] for at in items]),
    )


def _is_sampled(tag: str, sample: int) -> bool:
    """Return whether impressions of the id with this tag are wanted."""
    return sample == 1 or int(tag[:8], 16) % sample == 0


def digest4(text: str) -> bytes:
    """Return a digest of 4 bytes that are not all 0."""
    found = blake2b(text.encode(), digest_size=4).digest()
    return found if found != NO_EXPERIMENT else b"\1\0\0\0"


def _derive(key: bytes) -> _Key:
    """Return the secret and the number of a configured key."""
    secret = blake2b(key, digest_size=32, person=b"recblr-ids").digest()
    return _Key(blake2b(secret, digest_size=1).digest()[0], secret)
