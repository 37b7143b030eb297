"""Copy of the definitions in one worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from service.core.catalogue.attributes import AttributeType, declared_type
from service.core.catalogue.editing.item_changes import ItemTypes
from service.core.catalogue_store import OWN_NAME, CatalogueStore, Definitions, ShardPosition

# Stored among the declarations, under a name that no attribute can have.
_VECTOR = f"{OWN_NAME}vector"
_VECTOR_TEXT = "float32:"


class KnownDefinitions:
    """The definitions as they were last read, and declaring new ones."""

    def __init__(self, store: CatalogueStore, publish: Callable[[Definitions], None]) -> None:
        """Pass what is read to `publish`, in order."""
        self._store = store
        self._publish = publish
        self._reading = asyncio.Lock()  # of two reads, the one that began first could end last
        self.current = Definitions(ShardPosition(0, ""), {}, {})
        self.types = ItemTypes({}, None)

    async def refresh(self) -> Definitions:
        """Read the definitions; raises `StoreUnavailable`."""
        async with self._reading:
            found = await self._store.definitions()
            attributes = dict(found.attributes)
            vector = attributes.pop(_VECTOR, None)
            types = {name: declared_type(text) for name, text in attributes.items()}
            length = None if vector is None else int(vector.removeprefix(_VECTOR_TEXT))
            self.current, self.types = found._replace(attributes=attributes), ItemTypes(types, length)
            self._publish(self.current)
            return self.current

    async def declare(self, wanted: ItemTypes) -> None:
        """Declare what is not declared yet, then read what is.

        Another worker may have declared another type meanwhile.
        """
        known = self.types
        new = [(name, kind) for name, kind in wanted.attributes.items() if name not in known.attributes]
        for name, kind in new:
            await self._store.set_attribute(name, None, kind)
        if wanted.vector_length != known.vector_length:
            await self._store.set_attribute(_VECTOR, None, f"{_VECTOR_TEXT}{wanted.vector_length}")
        await self.refresh()

    def declared(self, name: str) -> AttributeType | None:
        """Return the attribute's type, None if it is not declared."""
        return self.types.attributes.get(name)
