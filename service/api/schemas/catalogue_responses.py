"""Response bodies about items, attributes and filters."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from service.api.schemas.responses import ErrorOut

_ItemId = Annotated[str, Field(description="Item id.")]
_Revision = Annotated[
    str,
    Field(description="Opaque name of a state of the catalogue. After a change: the first state with the change."),
]
_AttributeType = Annotated[
    Literal["bool", "number", "string", "strings", "time"], Field(description="Type of the attribute.")
]
_Changed = Annotated[bool, Field(description="False if the item was stored like this before.")]


class CatalogueItemOut(BaseModel):
    """One item of the catalogue."""

    item_id: _ItemId
    title: str | None = Field(description="Title. Null: none.")
    categories: list[str] = Field(description="Categories, sorted.")
    available: bool = Field(description="Whether the item may be in an answer.")
    attributes: dict[str, bool | float | str | list[str]] = Field(
        description="Values by name. A time is in UTC, such as `2026-12-24T17:00:00Z`."
    )


class CatalogueEntryOut(CatalogueItemOut):
    """One item of the catalogue, with its vector."""

    vector: list[float] | None = Field(description="Vector of your own, in float32. Null: none.")


class ListedItemOut(CatalogueItemOut):
    """One item of a page."""

    vector: list[float] | None = Field(default=None, description="With `vectors`: vector of your own. Null: none.")


class CataloguePageOut(BaseModel):
    """One page of the catalogue, by item id."""

    items: list[ListedItemOut] = Field(description="The items, unavailable ones too.")
    next_cursor: str | None = Field(description="`cursor` of the next page. Null: this is the last page.")
    total: int = Field(description="Number of items on all pages.")
    catalogue_revision: _Revision


class ItemChangedOut(BaseModel):
    """A changed item."""

    item_id: _ItemId
    changed: _Changed
    catalogue_revision: _Revision


class BatchItemOut(BaseModel):
    """Outcome of one item of a batch."""

    item_id: _ItemId
    changed: _Changed


class ItemBatchOut(BaseModel):
    """Outcome of a batch."""

    results: list[BatchItemOut | ErrorOut] = Field(description="One outcome per item, in the order of the request.")
    catalogue_revision: _Revision


class AttributeOut(BaseModel):
    """A declared attribute."""

    name: str = Field(description="Name of the attribute.")
    type: _AttributeType


class AttributesOut(BaseModel):
    """All declared attributes."""

    attributes: list[AttributeOut] = Field(description="The attributes, by name.")
    vector_length: int | None = Field(description="Length of all vectors. Null: no item has had one.")


class AttributeDeletedOut(BaseModel):
    """A deleted declaration."""

    name: str = Field(description="Name of the attribute.")
    deleted: Literal[True] = Field(description="Always true.")


class FilterOut(BaseModel):
    """A named filter."""

    name: str = Field(description="Name of the filter.")
    expression: str = Field(description="Its condition.")


class FiltersOut(BaseModel):
    """All named filters."""

    filters: list[FilterOut] = Field(description="The filters, by name.")


class FilterDeletedOut(BaseModel):
    """A deleted filter."""

    name: str = Field(description="Name of the filter.")
    deleted: Literal[True] = Field(description="Always true.")
