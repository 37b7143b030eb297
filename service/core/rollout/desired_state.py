"""What the processes on one store serve, and what they are about to: one note, which all of them read."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from hashlib import blake2b

ROLLOUT_RECORD = "models"

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Split:
    """An A/B test: the model `version` answers `share` of the users, 0 < share < 1.

    Who they are follows from the salt and the user's id alone: the same ones in every process and after every start,
    others under another salt, and with a larger share these and some more.
    """

    version: str
    share: float
    salt: str

    def takes(self, user_id: str) -> bool:
        """Whether this user is one of them."""
        digest = blake2b(user_id.encode("utf-8", "surrogatepass"), key=self.salt.encode(), digest_size=8).digest()
        return int.from_bytes(digest) < self.share * 2**64


@dataclass(frozen=True, slots=True)
class Serving:
    """The live version, and the test beside it if there is one."""

    live: str
    split: Split | None = None

    @property
    def versions(self) -> tuple[str, ...]:
        """The versions that answer, the live one first."""
        return (self.live,) if self.split is None else (self.live, self.split.version)

    @property
    def label(self) -> str:
        """All of it as a short text: equal where equal users get equal models."""
        split = self.split
        return self.live if split is None else f"{self.live} {split.version} {split.share!r} {split.salt}"


@dataclass(frozen=True, slots=True)
class Rollout:
    """The note.

    `chosen`: somebody asked for what is served, so that no start may replace it by something newer. `newest`: place
    in time of the newest bundle when this was decided; a watch takes over what is published after it, and so never
    undoes a return to an older version. `coming`: what worker `by` brings up, in this one `attempt`; nobody serves it
    before all hold it.
    """

    serving: Serving
    chosen: bool
    newest: tuple[str, str]
    coming: Serving | None = None
    by: str = ""
    attempt: str = ""

    def encode(self) -> str:
        """The note's text."""
        return json.dumps({"format": _FORMAT, **asdict(self)}, separators=(",", ":"))


def decode_rollout(text: str | None) -> Rollout | None:
    """The note's content; None where there is no note, or one that is not of this format."""
    try:
        entry = json.loads(text or "null")
        if not isinstance(entry, dict) or entry["format"] != _FORMAT:
            return None
        serving = _serving(entry["serving"])
        created, version = map(str, entry["newest"])
        coming = None if entry["coming"] is None else _serving(entry["coming"])
        return Rollout(
            serving, entry["chosen"] is True, (created, version), coming, str(entry["by"]), str(entry["attempt"])
        )
    except (ValueError, KeyError, TypeError):
        return None


def _serving(entry: dict[str, object]) -> Serving:
    split = entry["split"]
    if split is None:
        return Serving(str(entry["live"]))
    if not isinstance(split, dict):
        raise TypeError("a split is an object")
    share = float(split["share"])
    if not (math.isfinite(share) and 0 < share < 1):
        raise ValueError("a share lies between 0 and 1")
    return Serving(str(entry["live"]), Split(str(split["version"]), share, str(split["salt"])))
