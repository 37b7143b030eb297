"""The catalogue on Redis: a script for each operation.

layout.py describes the keys. A script holds up every other client, so each call is bounded in items and bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from service.core.catalogue_store import (
    CATALOGUE_SHARDS,
    CHANGES_KEPT,
    MAX_ATTRIBUTES,
    MAX_FILTERS,
    OWN_NAME,
    Definitions,
    ItemWrite,
    ShardChanges,
    ShardPage,
    ShardPosition,
    StoredItem,
    Written,
    catalogue_shard,
)
from service.core.errors import StoreUnavailable
from service.store.errors import unknown_format
from service.store.redis import layout, lua_scripts
from service.store.redis.deployments.deployment import Call, Deployment, run_script

# Of one script: it then takes at most about a millisecond.
MAX_ITEMS = 128
MAX_BYTES = 256 * 1024
MAX_READ = 256
MAX_READ_BY_ID = 32  # 2 ms if each has 16 KB

ITEM_FORMAT = 1
_ITEM_HEADER = struct.Struct("<Bd")
_ATTRIBUTE, _FILTER = "a:", "f:"
_MOST = {_ATTRIBUTE: MAX_ATTRIBUTES, _FILTER: MAX_FILTERS}
_POSITIONS = lua_scripts.READ_POSITIONS
_CHANGES_KEYS = (*(layout.catalogue_keys(shard)[1] for shard in range(CATALOGUE_SHARDS)), layout.DEFINITION_KEYS[1])
_CHANGED, _CONFLICT = 1, 2  # outcomes of write_items.lua


class RedisCatalogue:
    """See `service.core.catalogue_store.CatalogueStore`."""

    def __init__(self, deployment: Deployment, min_replicas: int = 0, changes_kept: int = CHANGES_KEPT) -> None:
        self._deployment = deployment
        self._must_write = int(min_replicas > 0)
        self._changes_kept = changes_kept
        self._newest_reply: list[int | bytes] = []  # of `positions`, which mostly gets the same again
        self._newest: tuple[ShardPosition, ...] = ()

    async def write_items(self, writes: Sequence[ItemWrite]) -> list[Written | StoreUnavailable]:
        """See `CatalogueStore.write_items`."""
        slices = list(_slices(writes))
        calls = []
        for shard, indices in slices:
            arguments: list[str | bytes | int] = [layout.new_token(), self._must_write, self._changes_kept]
            for index in indices:
                write = writes[index]
                expected = "" if write.expected is None else write.expected
                arguments += (write.item_id, expected, write.record)
            calls.append(Call(layout.catalogue_keys(shard), arguments, durable=True))
        # Several calls of one shard must run in order: see RedisStore.append_and_read.
        repeated = len({shard for shard, _ in slices}) < len(slices)
        script = lua_scripts.WRITE_ITEMS
        replies = await run_script(self._deployment, script, calls, load=repeated, partial=True)
        outcomes: dict[int, Written | StoreUnavailable] = {}
        for (_, indices), reply in zip(slices, replies, strict=True):
            failed = isinstance(reply, StoreUnavailable)
            found = [reply] * len(indices) if failed else [_written(*outcome) for outcome in reply]
            outcomes.update(zip(indices, found, strict=True))
        return [outcomes[index] for index in range(len(writes))]

    async def read_items(self, item_ids: Sequence[str]) -> list[StoredItem | None]:
        """See `CatalogueStore.read_items`."""
        by_shard: dict[int, list[int]] = {}
        for index, item_id in enumerate(item_ids):
            by_shard.setdefault(catalogue_shard(item_id), []).append(index)
        slices = [
            (shard, indices[start : start + MAX_READ_BY_ID])
            for shard, indices in by_shard.items()
            for start in range(0, len(indices), MAX_READ_BY_ID)
        ]
        calls = [
            Call(layout.catalogue_keys(shard)[:1], [item_ids[index] for index in indices])
            for shard, indices in slices
        ]
        found: dict[int, StoredItem | None] = {}
        replies = await run_script(self._deployment, lua_scripts.READ_ITEMS, calls)
        for (_, indices), values in zip(slices, replies, strict=True):
            for index, value in zip(indices, values, strict=True):
                found[index] = None if value is None else _stored_item(item_ids[index], value)
        return [found[index] for index in range(len(item_ids))]

    async def positions(self) -> list[ShardPosition | StoreUnavailable]:
        """See `CatalogueStore.positions`."""
        # Asked ten times a second: one script for all, if possible. It fails for all if one has an unknown format.
        if self._deployment.one_server:
            [found] = await run_script(self._deployment, _POSITIONS, [Call(_CHANGES_KEYS, ())], partial=True)
            if not isinstance(found, StoreUnavailable):
                if found != self._newest_reply:
                    self._newest_reply = found
                    self._newest = tuple(map(_position, found[::2], found[1::2]))
                return [*self._newest]
        calls = [Call((key,), ()) for key in _CHANGES_KEYS]
        replies = await run_script(self._deployment, _POSITIONS, calls, partial=True)
        return [reply if isinstance(reply, StoreUnavailable) else _position(*reply) for reply in replies]

    async def position_at(self, shard: int, revision: int) -> ShardPosition | None:
        """See `CatalogueStore.position_at`."""
        call = Call((_CHANGES_KEYS[shard],), (revision,))
        [reply] = await run_script(self._deployment, lua_scripts.READ_POSITION, [call])
        return None if reply is None else _position(*reply)

    async def changes(self, shard: int, after: ShardPosition, limit: int) -> ShardChanges | None:
        """See `CatalogueStore.changes`."""
        arguments = (after.revision, after.token, min(limit, MAX_READ), MAX_BYTES)
        call = Call(layout.catalogue_keys(shard), arguments)
        [reply] = await run_script(self._deployment, lua_scripts.READ_CHANGES, [call])
        if reply is None:
            return None
        revision, token, newest, *values = reply
        return ShardChanges(_position(revision, token), _stored_items(values), revision < newest)

    async def scan(self, shard: int, cursor: str, limit: int) -> ShardPage | None:
        """See `CatalogueStore.scan`. A cursor is "<server>/<cursor of that server>"."""
        server, _, within = cursor.partition("/")
        call = Call(layout.catalogue_keys(shard), (server, within or "0", min(limit, MAX_READ), MAX_BYTES))
        [reply] = await run_script(self._deployment, lua_scripts.SCAN_ITEMS, [call])
        if reply is None:
            return None
        found, following, revision, token, values = reply
        following = "" if following == b"0" else f"{found.decode()}/{following.decode()}"
        return ShardPage(_stored_items(values), following, _position(revision, token))

    async def definitions(self) -> Definitions:
        """See `CatalogueStore.definitions`."""
        while True:
            found = await self._read_definitions()
            if found is not None:
                return found

    async def _read_definitions(self) -> Definitions | None:
        """Read all definitions in pages; None if one changes meanwhile."""
        position: ShardPosition | None = None
        texts: dict[str, dict[str, str]] = {_ATTRIBUTE: {}, _FILTER: {}}
        read = 0
        while True:
            call = Call(layout.DEFINITION_KEYS, (read, MAX_BYTES))
            [reply] = await run_script(self._deployment, lua_scripts.READ_DEFINITIONS, [call])
            revision, token, count, values = reply
            if position not in (None, _position(revision, token)):
                return None
            position = _position(revision, token)
            for name, value in zip(values[::2], values[1::2], strict=True):
                if value[0] != ITEM_FORMAT:
                    raise unknown_format(f"a definition of the catalogue has format {value[0]}")
                texts[name[:2].decode()][name[2:].decode()] = value[1:].decode()
            read += len(values) // 2
            if read >= count:
                return Definitions(position, texts[_ATTRIBUTE], texts[_FILTER])

    async def set_attribute(self, name: str, expected: str | None, text: str | None) -> bool:
        """See `CatalogueStore.set_attribute`."""
        return await self._set_definition(_ATTRIBUTE, name, expected, text)

    async def set_filter(self, name: str, expected: str | None, text: str | None) -> bool:
        """See `CatalogueStore.set_filter`."""
        return await self._set_definition(_FILTER, name, expected, text)

    async def _set_definition(self, kind: str, name: str, expected: str | None, text: str | None) -> bool:
        # A text is never empty, so the script takes "" for no definition.
        definition = (kind + name, expected or "", text or "", _MOST[kind], OWN_NAME)
        arguments = (layout.new_token(), self._must_write, self._changes_kept, *definition)
        call = Call(layout.DEFINITION_KEYS, arguments, durable=True)
        return await run_script(self._deployment, lua_scripts.SET_DEFINITION, [call]) == [1]


def _slices(writes: Sequence[ItemWrite]) -> Iterator[tuple[int, list[int]]]:
    """Yield shard and indices of the writes of each call.

    They are bounded in items and bytes. Those of one shard are in the order of the writes.
    """
    open_slices: dict[int, tuple[list[int], int]] = {}
    for index, write in enumerate(writes):
        shard = catalogue_shard(write.item_id)
        indices, size = open_slices.get(shard, ([], 0))
        if indices and (len(indices) == MAX_ITEMS or size + len(write.record) > MAX_BYTES):
            yield shard, indices
            indices, size = [], 0
        indices.append(index)
        open_slices[shard] = indices, size + len(write.record)
    for shard, (indices, _) in open_slices.items():
        yield shard, indices


def _written(revision: int, outcome: int, newest: int, token: bytes) -> Written:
    return Written(revision, outcome == _CHANGED, outcome == _CONFLICT, _position(newest, token))


def _position(revision: int, token: bytes) -> ShardPosition:
    return ShardPosition(revision, token.decode())


def _stored_items(values: Sequence[bytes]) -> tuple[StoredItem, ...]:
    """Decode item id, value, item id, value, …"""
    return tuple(
        _stored_item(item_id.decode(), value) for item_id, value in zip(values[::2], values[1::2], strict=True)
    )


def _stored_item(item_id: str, value: bytes) -> StoredItem:
    found, revision = _ITEM_HEADER.unpack_from(value)
    if found != ITEM_FORMAT:
        raise unknown_format(f"an item of the catalogue has format {found}")
    return StoredItem(item_id, int(revision), value[_ITEM_HEADER.size :])
