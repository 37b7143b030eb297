"""Vectors of new items on Redis: a script for each operation.

layout.py describes the keys. A script holds up every other client, so each call is bounded in items and bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from service.core.new_items.vector_store import TOKEN_CHARACTERS, VectorEntry, VectorPage, VectorPosition
from service.store.errors import unknown_format
from service.store.redis import layout, lua_scripts
from service.store.redis.deployments.deployment import Call, Deployment, run_script

# Of one script: it then takes at most about a millisecond.
MAX_ITEMS = 128
MAX_BYTES = 256 * 1024
MAX_READ = 256

VECTOR_FORMAT = 1
_HEADER = struct.Struct(f"<Bd{TOKEN_CHARACTERS}s")


class RedisItemVectors:
    """See `service.core.new_items.vector_store.ItemVectorStore`."""

    def __init__(self, deployment: Deployment, min_replicas: int = 0) -> None:
        self._deployment = deployment
        self._must_write = int(min_replicas > 0)

    async def append(self, version: str, vectors: Sequence[tuple[str, bytes]]) -> list[VectorEntry]:
        """See `ItemVectorStore.append`."""
        calls = []
        for piece in _pieces(vectors):
            arguments: list[str | bytes | int] = [version, layout.new_token(), self._must_write]
            for item_id, vector in piece:
                arguments += (item_id, vector)
            calls.append(Call(layout.vector_keys(version), arguments, durable=True))
        replies = await run_script(self._deployment, lua_scripts.APPEND_VECTORS, calls, load=len(calls) > 1)
        values = [value for reply in replies for value in reply]
        return [_entry(item_id, value) for (item_id, _), value in zip(vectors, values, strict=True)]

    async def read(self, version: str, after: VectorPosition, limit: int) -> VectorPage | None:
        """See `ItemVectorStore.read`."""
        call = Call(layout.vector_keys(version)[:2], (*after, min(limit, MAX_READ)))
        [reply] = await run_script(self._deployment, lua_scripts.READ_VECTORS, [call])
        if reply is None:
            return None
        count, *found = reply
        entries = tuple(
            _entry(item_id.decode(), value) for item_id, value in zip(found[::2], found[1::2], strict=True)
        )
        return VectorPage(entries, after.revision + len(entries) < count)

    async def versions(self) -> list[str]:
        """See `ItemVectorStore.versions`."""
        calls = [Call((key,), ()) for key in layout.VECTOR_VERSIONS_KEYS]
        replies = await run_script(self._deployment, lua_scripts.VECTOR_VERSIONS, calls)
        return sorted(version.decode() for reply in replies for version in reply)

    async def forget(self, version: str) -> None:
        """See `ItemVectorStore.forget`."""
        call = Call(layout.vector_keys(version), (version,), durable=True)
        await run_script(self._deployment, lua_scripts.FORGET_VECTORS, [call])


def _pieces(vectors: Sequence[tuple[str, bytes]]) -> Iterator[Sequence[tuple[str, bytes]]]:
    """Yield the vectors of each call."""
    start, size = 0, 0
    for end, (_, vector) in enumerate(vectors):
        if end > start and (end - start == MAX_ITEMS or size + len(vector) > MAX_BYTES):
            yield vectors[start:end]
            start, size = end, 0
        size += len(vector)
    if start < len(vectors):
        yield vectors[start:]


def _entry(item_id: str, value: bytes) -> VectorEntry:
    if value[0] != VECTOR_FORMAT:
        raise unknown_format(f"an item's vector has format {value[0]}")
    _, number, token = _HEADER.unpack_from(value)
    return VectorEntry(int(number), item_id, value[_HEADER.size :], token.decode())
