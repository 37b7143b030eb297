"""Desired state of all workers on one store, and its stored form."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from hashlib import blake2b

ROLLOUT_RECORD = "rollout"

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class ABTest:
    """A/B test: the model `version` answers the fraction `share` of the users.

    The salt and the user's id alone decide whether a user is in the test, so every process decides alike, also after
    a restart. Another salt selects other users. A larger share adds users and removes none (decision 0067).
    """

    version: str
    share: float  # above 0, below 1
    salt: str

    def includes(self, user_id: str) -> bool:
        """Return whether the user is in the test."""
        digest = blake2b(user_id.encode("utf-8", "surrogatepass"), key=self.salt.encode(), digest_size=8).digest()
        return int.from_bytes(digest) < self.share * 2**64


@dataclass(frozen=True, slots=True)
class Serving:
    """Model versions that answer requests: two during an A/B test."""

    live: str
    ab_test: ABTest | None = None

    @property
    def versions(self) -> tuple[str, ...]:
        """The versions that answer, the live one first."""
        return (self.live,) if self.ab_test is None else (self.live, self.ab_test.version)

    @property
    def label(self) -> str:
        """Short text that identifies which model answers which user."""
        test = self.ab_test
        return self.live if test is None else f"{self.live} {test.version} {test.share!r} {test.salt}"


@dataclass(frozen=True, slots=True)
class DesiredState:
    """Content of the rollout record, which all workers apply.

    Attributes:
        serving: what every worker serves, or switches to.
        chosen: set by an operator request. A start of the service then keeps `serving`, even if a newer
            version exists.
        newest: order of the newest bundle at the time of the last decision. An automatic rollout takes only bundles
            after it, and so never undoes a rollback.
        coming: what all workers load next. Nobody serves it before all have loaded it.
        author: the worker that rolls out `coming`.
        attempt: id of this one rollout attempt.
    """

    serving: Serving
    chosen: bool
    newest: tuple[str, str]
    coming: Serving | None = None
    author: str = ""
    attempt: str = ""

    def encode(self) -> str:
        """Return the text of the record."""
        return json.dumps({"format": _FORMAT, **asdict(self)}, separators=(",", ":"))


def decode_desired_state(text: str | None) -> DesiredState | None:
    """Parse the record; return None if it is missing or unreadable."""
    try:
        entry = json.loads(text or "null")
        if not isinstance(entry, dict) or entry["format"] != _FORMAT:
            return None
        serving = _decode_serving(entry["serving"])
        created, version = map(str, entry["newest"])
        coming = None if entry["coming"] is None else _decode_serving(entry["coming"])
        author, attempt = str(entry["author"]), str(entry["attempt"])
        return DesiredState(serving, entry["chosen"] is True, (created, version), coming, author, attempt)
    except (ValueError, KeyError, TypeError):
        return None


def _decode_serving(entry: dict[str, object]) -> Serving:
    test = entry["ab_test"]
    if test is None:
        return Serving(str(entry["live"]))
    if not isinstance(test, dict):
        raise TypeError("ab_test must be an object")
    share = float(test["share"])
    if not (math.isfinite(share) and 0 < share < 1):
        raise ValueError("share must be above 0 and below 1")
    return Serving(str(entry["live"]), ABTest(str(test["version"]), share, str(test["salt"])))
