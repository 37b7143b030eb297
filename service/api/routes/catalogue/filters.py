"""Routes about named filters."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from service.api.answers import json_response
from service.api.dependencies import CHARGED_BODY, ServicesDep
from service.api.route_scopes import needs
from service.api.schemas.catalogue_requests import FilterIn, FilterName
from service.api.schemas.catalogue_responses import FilterDeletedOut, FilterOut, FiltersOut
from service.api.schemas.requests import NoQuery
from service.api.work_thread import BodyRoute, encode_long, in_work_thread
from service.api_keys import KeyScope

router = APIRouter(prefix="/v1/filters", tags=["catalogue"], route_class=BodyRoute)

_Name = Annotated[FilterName, Path(description="Name of the filter. Letters, digits, _, . and -; at most 64.")]


@router.get("", openapi_extra=needs(KeyScope.READ), response_model=FiltersOut, summary="List the named filters")
async def list_filters(query: Annotated[NoQuery, Query()], services: ServicesDep) -> Response:
    """Return all named filters."""
    found = await services.catalogue.definitions.filters()
    filters = [{"name": name, "expression": text} for name, text in found.items()]
    return json_response(await in_work_thread(encode_long, {"filters": filters}, "filters"))


@router.get("/{name}", openapi_extra=needs(KeyScope.READ), summary="Read a named filter")
async def read_filter(name: _Name, query: Annotated[NoQuery, Query()], services: ServicesDep) -> FilterOut:
    """Return the filter's expression."""
    return FilterOut(name=name, expression=await services.catalogue.definitions.filter(name))


@router.put("/{name}", openapi_extra=needs(KeyScope.CATALOGUE), dependencies=[CHARGED_BODY], summary="Name a filter")
async def put_filter(
    name: _Name, body: FilterIn, query: Annotated[NoQuery, Query()], services: ServicesDep
) -> FilterOut:
    """Name an expression, or replace the filter of this name.

    Questions use the filter as `filter_name`. An expression that cannot be used is refused.
    """
    await services.catalogue.definitions.put_filter(name, body.expression)
    return FilterOut(name=name, expression=body.expression)


@router.delete("/{name}", openapi_extra=needs(KeyScope.CATALOGUE), summary="Delete a named filter")
async def delete_filter(name: _Name, query: Annotated[NoQuery, Query()], services: ServicesDep) -> FilterDeletedOut:
    """Delete the filter. Questions that name it are refused from then on."""
    await services.catalogue.definitions.delete_filter(name)
    return FilterDeletedOut(name=name, deleted=True)
