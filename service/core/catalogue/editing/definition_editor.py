"""Use cases that change declared attributes and named filters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from service.core.catalogue.attributes import AttributeType
from service.core.catalogue.editing.item_changes import check_attribute_name
from service.core.catalogue.editing.known_definitions import KnownDefinitions
from service.core.catalogue_store import MAX_ATTRIBUTES, MAX_FILTERS, CatalogueStore, Definitions
from service.core.errors import AttributeConflict, AttributeNotFound, FilterNotFound, InvalidRequest, StoreUnavailable

MAX_ATTEMPTS = 8

CheckFilter = Callable[[str], Awaitable[None]]


class DefinitionEditor:
    """Declares attributes and names filters."""

    def __init__(self, store: CatalogueStore, definitions: KnownDefinitions, check_filter: CheckFilter) -> None:
        """Create the editor.

        `check_filter` raises `InvalidRequest` if an expression cannot be used under the definitions as last read.
        """
        self._store = store
        self._definitions = definitions
        self._check_filter = check_filter

    async def attributes(self) -> tuple[Mapping[str, AttributeType], int | None]:
        """Read the declared types, and the length of vectors, if any."""
        await self._definitions.refresh()
        types = self._definitions.types
        return dict(sorted(types.attributes.items())), types.vector_length

    async def attribute(self, name: str) -> AttributeType:
        """Read one declared type; raises `AttributeNotFound`."""
        await self._definitions.refresh()
        if (kind := self._definitions.declared(name)) is None:
            raise AttributeNotFound("the catalogue declares no such attribute")
        return kind

    async def declare(self, name: str, kind: AttributeType) -> None:
        """Declare an attribute.

        Raises:
            InvalidRequest: The name cannot be used, or there are too many attributes.
            AttributeConflict: The attribute has another type.
        """
        try:
            check_attribute_name(name)
        except ValueError as error:
            raise InvalidRequest(f"the attribute's name {error}") from None

        async def write(_: Definitions) -> bool:
            types = self._definitions.types.attributes
            if name not in types and len(types) >= MAX_ATTRIBUTES:
                raise InvalidRequest(f"the catalogue has {MAX_ATTRIBUTES} attributes already; delete one first")
            if (found := types.get(name, kind)) is not kind:
                raise AttributeConflict(f"{name} is declared as {found}; delete that declaration first")
            return await self._store.set_attribute(name, None, kind)

        await self._repeat(write, "attributes are being declared")

    async def forget_attribute(self, name: str) -> None:
        """Remove a declaration; filters and answers lose its values.

        Raises `AttributeNotFound`.
        """

        async def write(known: Definitions) -> bool:
            if (text := known.attributes.get(name)) is None:
                raise AttributeNotFound("the catalogue declares no such attribute")
            return await self._store.set_attribute(name, text, None)

        await self._repeat(write, "the attribute is being changed")

    async def filters(self) -> Mapping[str, str]:
        """Read all named filters."""
        return dict(sorted((await self._definitions.refresh()).filters.items()))

    async def filter(self, name: str) -> str:
        """Read a named filter's expression; raises `FilterNotFound`."""
        if (text := (await self._definitions.refresh()).filters.get(name)) is None:
            raise FilterNotFound("the catalogue has no filter of this name")
        return text

    async def put_filter(self, name: str, expression: str) -> None:
        """Name an expression; raises `InvalidRequest` if it cannot be used."""

        async def write(known: Definitions) -> bool:
            if name not in known.filters and len(known.filters) >= MAX_FILTERS:
                raise InvalidRequest(f"the catalogue has {MAX_FILTERS} named filters already; delete one first")
            await self._check_filter(expression)
            return await self._store.set_filter(name, known.filters.get(name), expression)

        await self._repeat(write, "the filter is being changed")

    async def delete_filter(self, name: str) -> None:
        """Remove a named filter; raises `FilterNotFound`."""

        async def write(known: Definitions) -> bool:
            if (text := known.filters.get(name)) is None:
                raise FilterNotFound("the catalogue has no filter of this name")
            return await self._store.set_filter(name, text, None)

        await self._repeat(write, "the filter is being changed")

    async def _repeat(self, write: Callable[[Definitions], Awaitable[bool]], interference: str) -> None:
        """Write on the newest definitions, until no other write came between."""
        for _ in range(MAX_ATTEMPTS):
            if await write(await self._definitions.refresh()):
                await self._definitions.refresh()
                return
        raise StoreUnavailable(f"{interference} by others; try again")
