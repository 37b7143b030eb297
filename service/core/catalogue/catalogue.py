"""The worker's copy of the catalogue."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from service.core.catalogue.applied_items import AppliedItems
from service.core.catalogue.attributes import AttributeType
from service.core.catalogue.columns.column_snapshot import SnapshotCapture, Span, restore_columns
from service.core.catalogue.columns.compaction import InThread, compact_column
from service.core.catalogue.columns.item_columns import ItemColumns
from service.core.catalogue.copy_positions import CopyPositions
from service.core.catalogue.filter_bitmaps.filter_bitmap import FilterBitmap, Source
from service.core.catalogue.filter_bitmaps.model_rows import KnownModels
from service.core.catalogue.filter_cache import NOT_CACHED, FilterCache, NotCached
from service.core.catalogue.filter_request import FilterRequest
from service.core.catalogue.filters import FilterTexts
from service.core.catalogue.item_pages import ItemPage, ItemPages
from service.core.catalogue.items import Item
from service.core.catalogue.past_rows import PastMoment, PastRows, past_rows
from service.core.catalogue_store import Definitions, ShardPosition, StoredItem
from service.core.column_snapshots import StoredColumns
from service.core.engine_requests import AllowedRows

FILTER_BYTES = 64 << 20


def _now() -> int:
    return time.time_ns() // 1000


class Catalogue:
    """Items as columns, their revision, and the filter bitmaps.

    Used on the event loop only. Filters are parsed and compiled in a thread. Until the first item is put, the
    catalogue takes no memory and everything that a model knows is allowed.

    Attributes:
        positions, items: How far the store's changes are applied, and the items with a log of their changes.
    """

    def __init__(
        self,
        shards: int,
        *,
        listed_only: bool = False,
        filter_bytes: int = FILTER_BYTES,
        clock: Callable[[], int] = _now,
    ) -> None:
        """Create an empty catalogue.

        Args:
            shards: number of shards of the store.
            listed_only: whether items without an entry are not allowed.
            filter_bytes: bound of the memory of filter bitmaps.
            clock: the time in microseconds.
        """
        self._columns = ItemColumns(listed_only)
        self.items = self._items = AppliedItems(self._columns)
        self._source = Source(self._columns, self._items.changes)
        self.positions = CopyPositions(shards)
        self._filters = FilterCache(filter_bytes, clock)
        self._models = KnownModels(self._columns, self._filters.in_thread)
        self._pages = ItemPages(self._items, self._filters.in_thread, clock)
        self._texts = FilterTexts(self._filters.in_thread)
        self._rewriting = asyncio.Lock()  # of columns, in steps between which others apply changes
        self.is_empty = True

    @property
    def revision(self) -> str:
        """Opaque text that names the state; see `revisions.includes`."""
        return self.positions.revision

    @property
    def evaluated_at(self) -> int:
        """The time of now() in the rows returned last, in microseconds."""
        return self._filters.evaluated_at

    @property
    def types(self) -> Mapping[str, AttributeType]:
        """Declared attributes."""
        return self._texts.types

    @property
    def nbytes(self) -> int:
        """Bytes of memory of the columns and the filter bitmaps."""
        return self._columns.nbytes + self._filters.nbytes

    @property
    def item_count(self) -> int:
        """Number of entries that are not deleted."""
        return self._columns.item_count

    def position(self, shard: int) -> ShardPosition:
        """Return the position up to which a shard's changes are applied."""
        return self.positions.of(shard)

    def apply(
        self, shard: int, position: ShardPosition, items: Sequence[StoredItem], *, is_newest: bool = True
    ) -> None:
        """Apply changes of a shard; of each item the newest revision counts.

        `is_newest` says that no later changes are known; see `CopyPositions.catching_up`.
        """
        self._begin(position, items)
        self._items.apply(shard, items)
        if position.revision >= self.positions.of(shard).revision:
            self.positions.set(shard, position, is_newest=is_newest)

    async def replace_shard(self, shard: int, position: ShardPosition, items: Sequence[StoredItem]) -> None:
        """Replace the items of a shard by what was read again.

        Meanwhile no changes of the shard may be applied. Until it returns, the shard is as it was.
        """
        async with self._rewriting:
            await self.prepare()
            staged = await self._items.stage_all(shard, items)
            self._begin(position, items)
            self._items.replace(shard, staged)
            self.positions.set(shard, position, is_newest=True)

    def capture(self) -> SnapshotCapture:
        """Begin to write a snapshot."""
        return SnapshotCapture(self._columns, self._items.changes, lambda: self.positions.all[:-1])

    def restore(self, stored: StoredColumns) -> list[Span]:
        """Fill the empty catalogue from a snapshot; see `restore_columns`."""
        spans = restore_columns(self._columns, stored)
        for shard, span in enumerate(spans):
            self.positions.set(shard, span.first, is_newest=True)
        self.is_empty = False
        return spans

    async def compact(self, in_thread: InThread) -> None:
        """Drop replaced strings, if they are the most."""
        async with self._rewriting:
            for key in self._columns.wasteful():
                await compact_column(self._columns, self._items.changes, key, in_thread)

    def set_definitions(self, definitions: Definitions) -> None:
        """Replace the declared attributes and the named filters."""
        self.positions.set_definitions(definitions.position)
        if self._texts.replace(definitions):
            self._filters.drop(lambda key: True)

    def get(self, item_id: str) -> Item | None:
        """Return an item's entry without its vector; None if deleted or unknown."""
        return self._items.get(item_id)

    async def add_model(self, version: str, item_ids: Sequence[str]) -> None:
        """Map the rows 1..V of a model, which are these items."""
        await self._models.add(version, item_ids)

    def extend_model(self, version: str, first: int, item_ids: Sequence[str]) -> None:
        """Map items appended to a model, right after `Engine.extend`; see `KnownModels`."""
        self._items.changes.append(self._models.extend(version, first, item_ids))  # for every filter bitmap

    async def prepare(self) -> None:
        """Make rows for the models' items, before the first item is applied.

        Optional: else `apply` does it at once, which takes a second for a million items.
        """
        await self._models.prepare()

    def remove_model(self, version: str) -> None:
        """Forget a model and its filter bitmaps."""
        self._models.remove(version)
        self._filters.drop(lambda key: key[0] == version)

    def allowed_now(self, version: str, request: FilterRequest | None) -> AllowedRows | NotCached | None:
        """Return what `allowed` would, if that needs no waiting.

        Raises:
            InvalidRequest: there is no filter of this name.
        """
        if request is None and self.is_empty:
            return None
        bitmap = self._filters.current(self._key(version, request, self._texts.expression(request)))
        return NOT_CACHED if bitmap is None else bitmap.result

    async def allowed(self, version: str, request: FilterRequest | None) -> AllowedRows | None:
        """Return the rows that may be in an answer; None for all.

        They are those of `revision` at the moment of the return.

        Unavailable and deleted items never may, and with `listed_only` none without an entry.

        Raises:
            InvalidRequest: the expression or a parameter is refused; the details name place and suggestion.
            Overloaded: too many other filters are being compiled.
        """
        if request is None and self.is_empty:
            return None
        text = self._texts.expression(request)
        key = self._key(version, request, text)
        if found := self._filters.current(key):
            return found.result
        predicate = None
        if request is not None:
            predicate = await self._texts.predicate(text, request)
        model = await self._models.rows(version)
        bitmap = await self._filters.get_or_compile(key, partial(FilterBitmap, self._source, model, predicate))
        if self._models.epoch(version) != key[1]:  # the appended items are others now
            return await self.allowed(version, request)
        return bitmap.result

    async def allowed_at(
        self, version: str, request: FilterRequest | None, moment: PastMoment, item_ids: Sequence[str]
    ) -> PastRows:
        """Return the rows of an earlier moment; see `past_rows`.

        Raises:
            InvalidRequest: the expression or a parameter is refused.
        """
        predicate = None if request is None else await self._texts.predicate(self._texts.expression(request), request)
        model = await self._models.rows(version)
        return await past_rows(self._source, model, predicate, moment, item_ids, self._filters.in_thread)

    async def check(self, expression: str) -> None:
        """Check an expression that will be stored; raises `InvalidRequest`."""
        await self._texts.check(expression)

    async def page(self, request: FilterRequest | None, cursor: str, limit: int) -> ItemPage:
        """Return entries after the id `cursor`, by id.

        Unavailable items are included. Cursor "" is the start, and as a result the end.

        Raises:
            InvalidRequest: the expression or a parameter is refused.
            Overloaded: the catalogue changes too fast.
        """
        predicate = None if request is None else await self._texts.predicate(self._texts.expression(request), request)
        return await self._pages.items(predicate, cursor, limit, lambda: self.revision)

    def close(self) -> None:
        """Stop the thread that compiles."""
        self._filters.close()

    def _begin(self, position: ShardPosition, items: Sequence[StoredItem]) -> None:
        if self.is_empty and (items or position.revision):
            self.is_empty = False
            self._models.prepare_now()

    def _key(self, version: str, request: FilterRequest | None, text: str) -> tuple[object, ...]:
        if request is None:
            return (version, self._models.epoch(version))
        return version, self._models.epoch(version), self._texts.generation, text, request.key
