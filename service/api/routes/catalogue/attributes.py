"""Routes about declared attributes."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from service.api.dependencies import ServicesDep
from service.api.route_scopes import needs
from service.api.schemas.catalogue_requests import AttributeIn
from service.api.schemas.catalogue_responses import AttributeDeletedOut, AttributeOut, AttributesOut
from service.api.schemas.requests import NoQuery
from service.api.work_thread import BodyRoute
from service.api_keys import KeyScope

router = APIRouter(prefix="/v1/attributes", tags=["catalogue"], route_class=BodyRoute)

_Name = Annotated[str, Path(max_length=256, description="Name of the attribute.")]


@router.get("", openapi_extra=needs(KeyScope.READ), summary="List the attributes")
async def list_attributes(query: Annotated[NoQuery, Query()], services: ServicesDep) -> AttributesOut:
    """Return all declared attributes and their types."""
    types, vector_length = await services.catalogue.definitions.attributes()
    declared = [AttributeOut(name=name, type=kind.value) for name, kind in types.items()]
    return AttributesOut(attributes=declared, vector_length=vector_length)


@router.get("/{name}", openapi_extra=needs(KeyScope.READ), summary="Read an attribute's type")
async def read_attribute(name: _Name, query: Annotated[NoQuery, Query()], services: ServicesDep) -> AttributeOut:
    """Return the declared type of an attribute."""
    return AttributeOut(name=name, type=(await services.catalogue.definitions.attribute(name)).value)


@router.put("/{name}", openapi_extra=needs(KeyScope.CATALOGUE), summary="Declare an attribute")
async def declare_attribute(
    name: _Name, attribute: AttributeIn, query: Annotated[NoQuery, Query()], services: ServicesDep
) -> AttributeOut:
    """Declare the type of an attribute.

    Otherwise its first value does. Times must be declared, because JSON has no times. Another type than the declared
    one is a conflict.
    """
    await services.catalogue.definitions.declare(name, attribute.kind)
    return AttributeOut(name=name, type=attribute.type)


@router.delete("/{name}", openapi_extra=needs(KeyScope.CATALOGUE), summary="Delete an attribute")
async def delete_attribute(
    name: _Name, query: Annotated[NoQuery, Query()], services: ServicesDep
) -> AttributeDeletedOut:
    """Delete the declaration. Answers and filters no longer have the attribute's values.

    After that the attribute can be declared with another type.
    """
    await services.catalogue.definitions.forget_attribute(name)
    return AttributeDeletedOut(name=name, deleted=True)
