"""Sent flips of availability, and the items that they hide."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from service.core.catalogue.revisions import Revision, decode_revision
from service.core.catalogue_store import catalogue_shard

FLIPS_PER_SAMPLE = 10  # one flip in this many is timed until each connection sees it


@dataclass(slots=True)
class Flip:
    """A flip of one item.

    Attributes:
        available: The item's state after it.
        revision: The shard's position in the acknowledgement; None before.
        is_exact: Whether the flip has exactly that position. A repeated one may have an earlier one.
    """

    available: bool
    revision: tuple[int, bytes] | None = None
    is_exact: bool = False


class FlipHistory:
    """All flips, by item.

    Shared by the threads that send and those that check. One thread flips an item, and waits for each
    acknowledgement.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flips: defaultdict[str, list[Flip]] = defaultdict(list)
        self.sampled: list[tuple[str, float]] = []  # revision and time of acknowledged flips
        self.count = 0
        self.checked = self.undecided = 0  # items of answers that were flipped before

    def begin(self, item_id: str) -> Flip:
        """Record that a flip will be sent; return it."""
        with self._lock:
            flips = self._flips[item_id]
            flip = Flip(not (flips[-1].available if flips else True))
            flips.append(flip)
        return flip

    def end(self, item_id: str, flip: Flip, revision: str, now: float, *, is_exact: bool) -> None:
        """Record the revision that acknowledged a flip."""
        position = decode_revision(revision).positions[catalogue_shard(item_id)]
        with self._lock:
            flip.revision, flip.is_exact = position, is_exact
            if self.count % FLIPS_PER_SAMPLE == 0:
                self.sampled.append((revision, now))
            self.count += 1

    def hidden(self, item_ids: Sequence[str], revision: str) -> list[str]:
        """Return those items of an answer that its revision hides.

        A flip may have taken effect before its acknowledgement, so an item whose next flip is on its way is not
        decided.
        """
        decoded, found = _decoded(revision), []
        with self._lock:
            for item_id in item_ids:
                flips = self._flips.get(item_id)
                if not flips:
                    continue
                is_shown = _state(flips, decoded, catalogue_shard(item_id))
                self.checked += 1
                self.undecided += is_shown is None
                if is_shown is False:
                    found.append(item_id)
        return found


def _state(flips: Sequence[Flip], revision: Revision, shard: int) -> bool | None:
    """Return whether an item is available at a revision, if known."""
    ours = revision.positions[shard]
    is_available = True
    for flip in flips:
        is_included = flip.revision is not None and (ours[0] > flip.revision[0] or ours == flip.revision)
        if not is_included:
            # A flip that is on its way, or that was repeated, may have taken effect before.
            return is_available if flip.is_exact and shard not in revision.catching_up else None
        is_available = flip.available
    return is_available


@lru_cache(maxsize=1024)
def _decoded(revision: str) -> Revision:
    return decode_revision(revision)
