"""Routes that change and read items of the catalogue."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Response

from service.api.answers import json_response
from service.api.dependencies import CHARGED_BODY, ServicesDep
from service.api.route_scopes import needs
from service.api.schemas.catalogue_requests import ItemIn, ItemPageQuery
from service.api.schemas.catalogue_responses import (
    CatalogueEntryOut,
    CataloguePageOut,
    ItemChangedOut,
)
from service.api.schemas.field_types import PathId
from service.api.schemas.item_fields import value_out
from service.api.schemas.requests import NoQuery
from service.api.work_thread import BodyRoute, encode_long, in_work_thread
from service.api_keys import KeyScope
from service.core.catalogue.editing.item_editor import Edited
from service.core.catalogue.filter_request import FilterRequest
from service.core.catalogue.items import Item
from service.core.errors import ServiceError

router = APIRouter(prefix="/v1/items", tags=["catalogue"], route_class=BodyRoute)


@router.put(
    "/{item_id}",
    openapi_extra=needs(KeyScope.CATALOGUE),
    dependencies=[CHARGED_BODY],
    summary="Put an item into the catalogue",
)
async def put_item(
    item_id: PathId, item: ItemIn, query: Annotated[NoQuery, Query()], services: ServicesDep
) -> ItemChangedOut:
    """Replace the item's content, or create the item.

    A deleted item comes back. Within a second, every worker's answers reflect the change.
    """
    return _changed(item_id, await services.catalogue.items.put([item.change(item_id)]))


@router.patch(
    "/{item_id}",
    openapi_extra=needs(KeyScope.CATALOGUE),
    dependencies=[CHARGED_BODY],
    summary="Change fields of an item",
)
async def patch_item(
    item_id: PathId, item: ItemIn, query: Annotated[NoQuery, Query()], services: ServicesDep
) -> ItemChangedOut:
    """Change the fields and attributes that are given; null removes them.

    An item that is not in the catalogue is created. A deleted one is not found.
    """
    return _changed(item_id, await services.catalogue.items.patch([item.change(item_id)]))


@router.delete("/{item_id}", openapi_extra=needs(KeyScope.CATALOGUE), summary="Delete an item")
async def delete_item(item_id: PathId, query: Annotated[NoQuery, Query()], services: ServicesDep) -> ItemChangedOut:
    """Delete the item, and keep it out of every answer.

    This also blocks an item that only the model knows. PUT brings a deleted item back.
    """
    return _changed(item_id, await services.catalogue.items.delete(item_id))


@router.get("", openapi_extra=needs(KeyScope.READ), response_model=CataloguePageOut, summary="List the catalogue")
async def list_items(query: Annotated[ItemPageQuery, Query()], services: ServicesDep) -> Response:
    """Return a page of the items, by id.

    With `filter` only those for which it is true; `total` counts them. Pass `next_cursor` as `cursor` to get the next
    page, until it is null. Unavailable items are listed, deleted ones are not. A page is as of `catalogue_revision`;
    each page has its own. With `vectors` each item has its vector, as stored a moment later.
    """
    catalogue = services.catalogue
    request = None if query.filter is None else FilterRequest(query.filter)
    found, cursor, total = await catalogue.copy.page(request, query.cursor, query.limit)
    revision = catalogue.copy.revision
    vectors = await catalogue.items.vectors([each.item_id for each in found]) if query.vectors else None

    def page() -> bytes:
        items = [item_out(catalogue.items.declared(each)) for each in found]
        if vectors is not None:
            items = [{**item, "vector": vector_out(vectors.get(item["item_id"]))} for item in items]
        page = {"items": items, "next_cursor": cursor or None, "total": total, "catalogue_revision": revision}
        return encode_long(page, "items")

    return json_response(await in_work_thread(page))


@router.get("/{item_id}", openapi_extra=needs(KeyScope.READ), summary="Read an item of the catalogue")
async def read_item(item_id: PathId, query: Annotated[NoQuery, Query()], services: ServicesDep) -> CatalogueEntryOut:
    """Return the item's newest content."""
    found = await services.catalogue.items.get(item_id)
    return CatalogueEntryOut(**item_out(found), vector=vector_out(found.vector))


def item_out(found: Item) -> dict[str, Any]:
    """Return the fields of an item for a response."""
    return {
        "item_id": found.item_id,
        "title": found.title,
        "categories": list(found.categories),
        "available": found.available,
        "attributes": {name: value_out(value) for name, value in sorted(found.attributes.items())},
    }


def vector_out(vector: bytes | None) -> list[float] | None:
    """Return the shortest numbers that stand for these float32."""
    return None if vector is None else list(map(float, np.frombuffer(vector, "<f4").astype(str)))


def _changed(item_id: str, edited: Edited) -> ItemChangedOut:
    """Return the outcome of one change; raise its error."""
    [outcome] = edited.outcomes
    if isinstance(outcome, ServiceError):
        raise outcome
    return ItemChangedOut(item_id=item_id, changed=outcome.changed, catalogue_revision=edited.revision)
