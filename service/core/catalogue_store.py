"""Contract of the catalogue's storage.

Items live in shards. A write of an item, its change entry and the shard's new revision are one atomic step. Workers
keep a copy of the catalogue and follow the changes of each shard. The bytes of a record are those of
`core.catalogue.items`; the store does not look into them.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from service.core.errors import StoreUnavailable

CATALOGUE_SHARDS = 16  # part of the stored format: with another number, items would be looked for elsewhere
CHANGES_KEPT = 65_536  # in each shard; a worker that has missed more reads the shard again
MAX_ATTRIBUTES = 64  # the store holds both limits, because several workers may declare at the same time
MAX_FILTERS = 1_000
OWN_NAME = "$"  # begins the names of declarations that are no attributes


def catalogue_shard(item_id: str) -> int:
    """Return the item's shard."""
    return zlib.crc32(item_id.encode()) % CATALOGUE_SHARDS


class ShardPosition(NamedTuple):
    """Point in the changes of a shard.

    After a failover a revision can be given out again, to another change. The token tells the two apart.

    Attributes:
        revision: Number of the newest change, 0 before the first.
        token: Random word that was stored with this change, "" before the first.
    """

    revision: int
    token: str


class ItemWrite(NamedTuple):
    """Write of one item.

    Attributes:
        item_id: The item.
        record: Its new record; a deleted item has a record too.
        expected: Write only if the stored item has this revision, 0 for none; None writes always.
    """

    item_id: str
    record: bytes
    expected: int | None = None


class StoredItem(NamedTuple):
    """Record of an item, with its revision in the shard."""

    item_id: str
    revision: int
    record: bytes


class Written(NamedTuple):
    """Outcome of an `ItemWrite`.

    Attributes:
        revision: The stored item's revision afterwards, 0 if there is none.
        changed: Whether the record was replaced. A record of the same bytes is not, and gets no revision.
        conflict: Whether another revision than the expected one is stored; nothing was written.
        position: The shard's newest position then. A copy at this position, or beyond it, has the stored item.
    """

    revision: int
    changed: bool
    conflict: bool
    position: ShardPosition


class ShardChanges(NamedTuple):
    """Newest records of the items that changed after a position.

    Attributes:
        position: The position of the newest change returned.
        items: The changed items.
        more: Whether there are further changes.
    """

    position: ShardPosition
    items: tuple[StoredItem, ...]
    more: bool


class ShardPage(NamedTuple):
    """Page of a shard's items.

    Attributes:
        items: Items of the shard.
        cursor: Where the next page begins; "" after the last page.
        position: The newest position when the page was read. No item of the page has a higher revision.
    """

    items: tuple[StoredItem, ...]
    cursor: str
    position: ShardPosition


class Definitions(NamedTuple):
    """Declared attributes and named filters, as texts by name.

    `position` changes with each of them.
    """

    position: ShardPosition
    attributes: Mapping[str, str]
    filters: Mapping[str, str]


class CatalogueStore(Protocol):
    """Items, declared attributes and named filters; as durable as the event log.

    Every method raises `StoreUnavailable` if the backend does not answer within its budget. `write_items` and
    `positions` return it in place of each entry that failed.
    """

    async def write_items(self, writes: Sequence[ItemWrite]) -> list[Written | StoreUnavailable]:
        """Write the items in order; return one outcome each.

        Each write is atomic. The items may be of any shards.
        """
        ...

    async def read_items(self, item_ids: Sequence[str]) -> list[StoredItem | None]:
        """Read the newest records."""
        ...

    async def positions(self) -> list[ShardPosition | StoreUnavailable]:
        """Return the newest positions, one a shard, and the definitions' last."""
        ...

    async def position_at(self, shard: int, revision: int) -> ShardPosition | None:
        """Return the position of a change; None if it is not kept.

        The shard after the last one is the definitions'.
        """
        ...

    async def changes(self, shard: int, after: ShardPosition, limit: int) -> ShardChanges | None:
        """Return the items of the first `limit` changes after the position.

        No returned item has a higher revision than the returned position. An item that changed again later is
        returned with that later change only.

        None: the shard does not know the position, or no longer keeps the changes since. Then read it with `scan`.
        """
        ...

    async def scan(self, shard: int, cursor: str, limit: int) -> ShardPage | None:
        """Return a page of about `limit` items; cursor "" begins.

        An item that exists throughout is on at least one page. What changes after the first page's position may be
        missing: read the changes after that position next. After a failover in between, the copy may hold a change
        that the failover undid. So `changes` must then know the last page's position too.

        None: the pages before came from another server. Drop them and begin again.
        """
        ...

    async def definitions(self) -> Definitions:
        """Return all definitions."""
        ...

    async def set_attribute(self, name: str, expected: str | None, text: str | None) -> bool:
        """Replace the attribute's declaration atomically if it equals `expected`.

        None stands for no declaration. Returns whether it was replaced. An attribute beyond `MAX_ATTRIBUTES` is not
        added; names that begin with `OWN_NAME` are the service's own and do not count.
        """
        ...

    async def set_filter(self, name: str, expected: str | None, text: str | None) -> bool:
        """Replace the named filter atomically if it equals `expected`.

        None stands for no filter. Returns whether it was replaced. A filter beyond `MAX_FILTERS` is not added.
        """
        ...
