"""Whether an earlier revision belongs to the history of the store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from service.core.catalogue.revisions import Revision
from service.core.catalogue_store import CatalogueStore, ShardPosition


class RevisionGoneError(Exception):
    """A revision cannot be evaluated any more; the message says why."""


class RevisionHistory:
    """Compares revisions with the changes that the store keeps."""

    def __init__(self, store: CatalogueStore) -> None:
        self._store = store

    async def check(self, revision: Revision, held: Sequence[ShardPosition]) -> None:
        """Check that changes lead from `revision` to the positions of a copy.

        Args:
            revision: An earlier revision.
            held: Positions of the copy in each shard and in the definitions.

        Raises:
            RevisionGoneError: They do not, or the changes are not kept any more.
            StoreUnavailable: The changes cannot be read.
        """
        if len(revision.positions) != len(held):
            raise RevisionGoneError("the revision is of a catalogue with another number of shards")
        if revision.catching_up:
            raise RevisionGoneError("the worker was applying many changes at once when it answered")
        moved = [shard for shard, position in enumerate(held) if not revision.is_at(shard, position)]
        await asyncio.gather(*[self._check_shard(shard, revision, held[shard]) for shard in moved])

    async def _check_shard(self, shard: int, revision: Revision, held: ShardPosition) -> None:
        number, _ = revision.positions[shard]
        if number > held.revision:
            raise RevisionGoneError("this worker has not got the revision, or a failover has undone it")
        if await self._store.position_at(shard, held.revision) != held:
            raise RevisionGoneError("a failover has undone changes of the catalogue; ask again in a second")
        if not number:
            return  # the empty shard, from which every history begins
        kept = await self._store.position_at(shard, number)
        if kept is None:
            raise RevisionGoneError("the changes since the revision are not kept any more")
        if not revision.is_at(shard, kept):
            raise RevisionGoneError("a failover has undone the revision")
