"""Entries of one model version's list that a worker holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from service.core.new_items.vector_mark import NO_VECTORS, VectorMark, item_hash
from service.core.new_items.vector_store import START, VectorEntry, VectorPosition


class ReplayStart(NamedTuple):
    """Vectors that were held when a replay began.

    Attributes:
        position: The newest entry.
        epoch: See `HeldVectors`.
    """

    position: VectorPosition
    epoch: int


class HeldVectors:
    """Entries by item and by number, without their vectors.

    Attributes:
        numbers: Number of the entry by item.
        position: The newest entry.
        epoch: Changes whenever entries were undone. A state of an earlier epoch may name other items.
    """

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.position = START
        self.epoch = 0
        self._tokens: list[str] = []
        self._newest_by_hash: dict[int, int] = {}

    def clear(self) -> None:
        """Forget everything, after a failover has undone entries."""
        self.epoch += 1
        self.position = START
        for each in (self.numbers, self._tokens, self._newest_by_hash):
            each.clear()

    def extend(self, entries: Sequence[VectorEntry]) -> None:
        """Add the entries that follow; raises `ValueError` for others."""
        for entry in entries:
            if entry.number != len(self._tokens) + 1:
                raise ValueError(f"entry {entry.number} does not follow {len(self._tokens)}")
            self.numbers[entry.item_id] = entry.number
            self._tokens.append(entry.token)
            self._newest_by_hash[item_hash(entry.item_id)] = entry.number
            self.position = entry.position

    def holds(self, position: VectorPosition) -> bool:
        """Return whether the entry of a position is held."""
        revision, token = position
        return not revision or (revision <= len(self._tokens) and self._tokens[revision - 1] == token)

    def adds_to(self, mark: VectorMark) -> bool:
        """Return whether a skipped item has a vector since then."""
        revision = mark.position.revision
        if revision == self.position.revision or mark.skipped == ():
            return False
        if mark.skipped is None:
            return True
        return any(self._newest_by_hash.get(each, 0) > revision for each in mark.skipped)

    def start(self) -> ReplayStart:
        """Return what is held now."""
        return ReplayStart(self.position, self.epoch)

    def mark(
        self,
        start: ReplayStart,
        extended: int,
        previous: VectorMark | None,
        item_ids: Iterable[str],
        knows: Callable[[str], bool],
    ) -> VectorMark | None:
        """Return the mark of a replay.

        None: entries arrived meanwhile, so the replay had an unknown part of them.

        Args:
            start: What was held when it began.
            extended: Number of new items that the engine has.
            previous: Mark of the state that it began from, if any.
            item_ids: The replayed items.
            knows: Returns whether the model has a vector of an item.
        """
        if start != (self.position, self.epoch) or extended != self.position.revision:
            return None
        skipped = [item_id for item_id in item_ids if not knows(item_id)]
        return (previous or NO_VECTORS).with_skipped(self.position, skipped)

    def had(self, revision: int, item_id: str) -> bool:
        """Return False if the item got its vector after a revision."""
        return self.numbers.get(item_id, 0) <= revision
