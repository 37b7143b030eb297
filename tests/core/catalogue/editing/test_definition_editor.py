"""Declaring attributes and naming filters."""

from __future__ import annotations

import pytest

from service.core.catalogue.attributes import AttributeType
from service.core.catalogue.editing.definition_editor import DefinitionEditor
from service.core.catalogue.editing.item_changes import ItemChange
from service.core.catalogue.editing.item_editor import ItemEditor
from service.core.catalogue.editing.known_definitions import KnownDefinitions
from service.core.catalogue_store import MAX_FILTERS
from service.core.errors import AttributeConflict, AttributeNotFound, FilterNotFound, InvalidRequest
from tests.core.memory_catalogue import MemoryCatalogue

pytestmark = pytest.mark.anyio


@pytest.fixture
def store() -> MemoryCatalogue:
    return MemoryCatalogue()


@pytest.fixture
def editor(store: MemoryCatalogue) -> DefinitionEditor:
    definitions = KnownDefinitions(store, list)

    async def check(expression: str) -> None:
        if definitions.declared(expression) is None:
            raise InvalidRequest(f"no attribute {expression}")

    return DefinitionEditor(store, definitions, check)


async def test_attribute_is_declared_once(editor: DefinitionEditor) -> None:
    await editor.declare("until", AttributeType.TIME)
    await editor.declare("until", AttributeType.TIME)
    with pytest.raises(AttributeConflict, match="until is declared as time; delete that declaration first"):
        await editor.declare("until", AttributeType.STRING)
    assert await editor.attribute("until") is AttributeType.TIME
    assert await editor.attributes() == ({"until": AttributeType.TIME}, None)


async def test_declaration_that_is_deleted_can_be_another(store: MemoryCatalogue, editor: DefinitionEditor) -> None:
    items = ItemEditor(store, editor._definitions)
    await items.put([ItemChange("a", {"vector": [1, 2]}, {"price": "5", "size": 3})])
    await editor.forget_attribute("price")
    assert (await items.get("a")).attributes == {"size": 3.0}
    await editor.declare("price", AttributeType.NUMBER)
    assert (await items.get("a")).attributes == {"size": 3.0}
    await items.patch([ItemChange("a", {}, {"price": 5})])
    assert (await items.get("a")).attributes == {"size": 3.0, "price": 5.0}
    assert (await editor.attributes())[1] == 2


async def test_unknown_attribute_is_not_found(editor: DefinitionEditor) -> None:
    for work in (editor.attribute("price"), editor.forget_attribute("price"), editor.forget_attribute("$vector")):
        with pytest.raises(AttributeNotFound):
            await work


@pytest.mark.parametrize("name", ["a b", "", "title", "$vector", "vector"])
async def test_unusable_name_is_refused(editor: DefinitionEditor, name: str) -> None:
    with pytest.raises(InvalidRequest, match="the attribute's name"):
        await editor.declare(name, AttributeType.BOOL)


async def test_65th_attribute_is_refused(editor: DefinitionEditor) -> None:
    for n in range(64):
        await editor.declare(f"a{n}", AttributeType.BOOL)
    with pytest.raises(InvalidRequest, match="64 attributes already"):
        await editor.declare("b", AttributeType.BOOL)
    await editor.declare("a5", AttributeType.BOOL)


async def test_filter_is_checked_then_named(editor: DefinitionEditor) -> None:
    with pytest.raises(InvalidRequest, match="no attribute price"):
        await editor.put_filter("cheap", "price")
    assert await editor.filters() == {}
    await editor.declare("price", AttributeType.NUMBER)
    await editor.declare("new", AttributeType.BOOL)
    await editor.put_filter("cheap", "price")
    await editor.put_filter("cheap", "new")
    await editor.put_filter("cheap", "new")
    assert (await editor.filter("cheap"), await editor.filters()) == ("new", {"cheap": "new"})
    await editor.delete_filter("cheap")
    for work in (editor.filter("cheap"), editor.delete_filter("cheap")):
        with pytest.raises(FilterNotFound):
            await work


async def test_number_of_filters_is_bounded(store: MemoryCatalogue, editor: DefinitionEditor) -> None:
    await editor.declare("price", AttributeType.NUMBER)
    for n in range(MAX_FILTERS):
        await store.set_filter(f"f{n}", None, "price")
    with pytest.raises(InvalidRequest, match="1000 named filters already"):
        await editor.put_filter("one more", "price")
    await editor.put_filter("f5", "price")
