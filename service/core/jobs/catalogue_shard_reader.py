"""Reads whole shards of the catalogue into a worker's copy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from service.core.catalogue_store import CatalogueStore, ShardPosition, StoredItem

PAGE_ITEMS = 256
_APPLIED_AT_ONCE = 1024  # at the start, when nobody waits for the event loop
_START = ShardPosition(0, "")


class CatalogueCopy(Protocol):
    """The worker's copy: `core.catalogue.catalogue.Catalogue`."""

    @property
    def item_count(self) -> int:
        """Number of items that are not deleted."""
        ...

    def position(self, shard: int) -> ShardPosition:
        """Return the position up to which a shard's changes are applied."""
        ...

    def apply(
        self, shard: int, position: ShardPosition, items: Sequence[StoredItem], *, is_newest: bool = True
    ) -> None:
        """Apply changes; repeating them changes nothing."""
        ...

    async def prepare(self) -> None:
        """Prepare the empty copy for the first item."""
        ...

    async def replace_shard(self, shard: int, position: ShardPosition, items: Sequence[StoredItem]) -> None:
        """Replace all items of a shard."""
        ...


class ShardReader:
    """Reads shards, and the changes that arrive meanwhile."""

    def __init__(self, store: CatalogueStore, copy: CatalogueCopy) -> None:
        self._store = store
        self._copy = copy

    async def load(self, shard: int) -> None:
        """Read a shard into the empty copy."""
        pages: list[StoredItem] = []

        def take(items: Sequence[StoredItem]) -> None:
            pages.extend(items)
            if len(pages) >= _APPLIED_AT_ONCE:
                self._copy.apply(shard, _START, pages)
                pages.clear()

        scanned = await self._scan(shard, take)
        if scanned is not None:
            self._copy.apply(shard, _START, pages)
            apply = partial(self._copy.apply, shard)
            position = await self._catch_up(shard, *scanned, apply)
            if position is not None:
                apply(position, ())
                return
        await self.reread(shard)

    async def resume(self, shard: int, last: ShardPosition) -> None:
        """Apply the changes since the copy's position.

        The copy may have changes up to `last`. Raises `StoreUnavailable`.
        """
        apply = partial(self._copy.apply, shard)
        if await self._catch_up(shard, self._copy.position(shard), last, apply) is None:
            await self.reread(shard)

    async def reread(self, shard: int) -> None:
        """Replace the shard by what the store has; raises `StoreUnavailable`.

        Answers are made meanwhile, so everything is read first. A scan alone has later changes than its position.
        """
        while True:
            items: list[StoredItem] = []
            scanned = await self._scan(shard, items.extend)
            if scanned is None:
                continue
            position = await self._catch_up(shard, *scanned, partial(_collect, items))
            if position is not None:
                await self._copy.replace_shard(shard, position, items)
                return

    async def _scan(
        self, shard: int, take: Callable[[Sequence[StoredItem]], None]
    ) -> tuple[ShardPosition, ShardPosition] | None:
        """Read all pages of a shard.

        Returns the positions at the first and the last page; None if another server answered in between.
        """
        first: ShardPosition | None = None
        cursor = ""
        while True:
            page = await self._store.scan(shard, cursor, PAGE_ITEMS)
            if page is None:
                return None
            first = first or page.position
            take(page.items)
            cursor = page.cursor
            if not cursor:
                return first, page.position

    async def _catch_up(
        self,
        shard: int,
        position: ShardPosition,
        last: ShardPosition,
        take: Callable[[ShardPosition, Sequence[StoredItem]], None],
    ) -> ShardPosition | None:
        """Read the changes since the scan; return the newest position.

        None unless the store still knows the position at the last page: the scan may have read changes that a
        failover undid since.
        """
        while True:
            found = await self._store.changes(shard, position, PAGE_ITEMS)
            if found is None:
                return None
            take(found.position, found.items)
            position = found.position
            if not found.more:
                return None if await self._store.changes(shard, last, 1) is None else position


def _collect(items: list[StoredItem], position: ShardPosition, changed: Sequence[StoredItem]) -> None:
    items += changed
