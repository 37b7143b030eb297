"""Contract of the storage of new items' vectors.

Each model version has one list of vectors. An entry is never changed, and its number never given to another item, so
a replay computes the same state in every process. Only a failover can undo the newest entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

TOKEN_CHARACTERS = 16


class VectorPosition(NamedTuple):
    """Point in the list of one model version.

    After a failover a number can be given out again, to another entry. The token tells the two apart.

    Attributes:
        revision: Number of entries up to here.
        token: Random word of `TOKEN_CHARACTERS` that was stored with the last of them; "" before the first.
    """

    revision: int
    token: str


START = VectorPosition(0, "")


class VectorEntry(NamedTuple):
    """Vector of a new item.

    Attributes:
        number: Place in the list, from 1.
        item_id: The item.
        vector: (D,) float32, little-endian.
        token: See `VectorPosition`.
    """

    number: int
    item_id: str
    vector: bytes
    token: str

    @property
    def position(self) -> VectorPosition:
        """The position after this entry."""
        return VectorPosition(self.number, self.token)


class VectorPage(NamedTuple):
    """Consecutive entries of a list.

    Attributes:
        entries: The entries.
        more: Whether there are further ones.
    """

    entries: tuple[VectorEntry, ...]
    more: bool


class ItemVectorStore(Protocol):
    """Vectors of new items by model version.

    Every method raises `StoreUnavailable` if the backend does not answer within its budget.
    """

    async def append(self, version: str, vectors: Sequence[tuple[str, bytes]]) -> list[VectorEntry]:
        """Append vectors; return the entry of each item.

        An item that the list has keeps its entry. After an error any of them may have been appended.
        """
        ...

    async def read(self, version: str, after: VectorPosition, limit: int) -> VectorPage | None:
        """Return about `limit` entries after a position.

        None: the list does not know the position. Then read it from `START`.
        """
        ...

    async def versions(self) -> list[str]:
        """Return the versions that have a list, sorted."""
        ...

    async def forget(self, version: str) -> None:
        """Delete a version's list."""
        ...
