"""Positions of a worker's copy, and the revision that its answers name."""

from __future__ import annotations

from service.core.catalogue.revisions import encode_revision
from service.core.catalogue_store import ShardPosition

_START = ShardPosition(0, "")


class CopyPositions:
    """How far the changes of each shard, and the definitions, are applied.

    Attributes:
        catching_up: Shards of which later changes are known, and not applied yet. An item that changed before the
            position may be missing, because it changed again later. So answers name the position before.
    """

    def __init__(self, shards: int) -> None:
        self._applied = [_START] * shards
        self._named = [_START] * shards
        self._definitions = _START
        self._revision: str | None = None
        self.catching_up: set[int] = set()

    @property
    def revision(self) -> str:
        """Opaque text that names the state; see `revisions`."""
        if self._revision is None:
            self._revision = encode_revision([*self._named, self._definitions], self.catching_up)
        return self._revision

    @property
    def all(self) -> list[ShardPosition]:
        """Positions of all shards and of the definitions."""
        return [*self._applied, self._definitions]

    def of(self, shard: int) -> ShardPosition:
        """Return the position of a shard."""
        return self._applied[shard]

    def set(self, shard: int, position: ShardPosition, *, is_newest: bool) -> None:
        """Set a shard's position; `is_newest` says that no later changes are known."""
        self._applied[shard], self._revision = position, None
        if is_newest:
            self._named[shard] = position
            self.catching_up.discard(shard)
        else:
            self.catching_up.add(shard)

    def set_definitions(self, position: ShardPosition) -> None:
        """Set the position of the definitions."""
        self._definitions, self._revision = position, None
