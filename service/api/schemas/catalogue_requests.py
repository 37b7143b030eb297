"""Request bodies and query parameters about items, attributes and filters."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, StringConstraints, TypeAdapter, ValidationError, model_validator

from service.api.schemas.field_types import FILTER_NAME, Identifier
from service.api.schemas.requests import StrictBody, StrictQuery
from service.api.schemas.validation_messages import validation_details
from service.core.catalogue.attributes import AttributeType
from service.core.catalogue.editing.item_changes import (
    MAX_STRINGS,
    MAX_VECTOR,
    ItemChange,
)
from service.core.catalogue_store import MAX_ATTRIBUTES
from service.core.errors import InvalidRequest

MAX_ITEMS = 1000
MAX_VECTOR_ITEMS = 100  # of a page with vectors: 2 MB
MAX_EXPRESSION = 4096
_MAX_VALUE_CHARACTERS = 1024


def _attribute_value(value: object) -> object:
    """Check the kind of a value; its type is checked later."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        if len(value) > MAX_STRINGS:
            raise ValueError(f"has {len(value)} strings; at most {MAX_STRINGS} are allowed")
        return [_text(each) for each in value]
    raise ValueError("must be true, false, a number, a string, a list of strings, or null")


def _text(value: str) -> str:
    if len(value) > _MAX_VALUE_CHARACTERS:
        raise ValueError(f"has {len(value)} characters; at most {_MAX_VALUE_CHARACTERS} are allowed")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("must be valid Unicode, without lone surrogates") from None
    return value


_Text = Annotated[str, StringConstraints(max_length=_MAX_VALUE_CHARACTERS)]
_JsonValue = bool | float | str | list[str] | None
_AttributeValue = Annotated[Any, PlainValidator(_attribute_value, json_schema_input_type=_JsonValue)]
FilterName = Annotated[str, StringConstraints(pattern=FILTER_NAME)]


class ItemIn(StrictBody):
    """Content of an item.

    Null is the same as leaving a field out. In a patch, null removes.
    """

    title: _Text | None = Field(default=None, description="Title. At most 1 KB.")
    categories: list[_Text] | None = Field(
        default=None, max_length=MAX_STRINGS, description="Categories. At most 64, of 1 KB each."
    )
    available: bool | None = Field(
        default=None, description="Whether the item may be in an answer. Default: true. In a patch: as it was."
    )
    attributes: dict[str, _AttributeValue] | None = Field(
        default=None,
        max_length=MAX_ATTRIBUTES,
        description="Values by name; a name is a letter or _, then letters, digits and _. The first value declares "
        "the type of its attribute: bool, number, string or a set of strings. Times are declared with "
        "PUT /v1/attributes/{name}. Null removes a value.",
    )
    vector: list[Annotated[float, Field(allow_inf_nan=False)]] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_VECTOR,
        description="Vector of your own that describes the item. All vectors have the length of the first.",
    )

    def change(self, item_id: str) -> ItemChange:
        """Return the change of this item."""
        given = {name: getattr(self, name) for name in self.model_fields_set - {"item_id", "attributes"}}
        return ItemChange(item_id, given, self.attributes or {})


class BatchItemIn(ItemIn):
    """Content of one item of a batch."""

    item_id: Identifier = Field(description="Item. 1 to 256 characters, no control characters.")


def _unchanged(value: object) -> object:
    return value


_ITEM: TypeAdapter[BatchItemIn] = TypeAdapter(BatchItemIn)


def change_or_error(value: object) -> ItemChange | InvalidRequest:
    """Validate one item of a batch; return the error, if any."""
    try:
        item = _ITEM.validate_python(value)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        return InvalidRequest("this item does not follow the contract", details=validation_details(found))
    return item.change(item.item_id)


class ItemBatchIn(StrictBody):
    """Many items."""

    # Not validated here: 1,000 large items would hold the event loop. The route calls `change_or_error` in slices.
    items: list[Annotated[object, PlainValidator(_unchanged, json_schema_input_type=BatchItemIn)]] = Field(
        min_length=1, max_length=MAX_ITEMS, description="The items. Of several with one id the last one counts."
    )
    mode: Literal["put", "patch"] = Field(
        default="put", description="`put` replaces each item, `patch` changes the fields that are given."
    )


class AttributeIn(StrictBody):
    """Type of an attribute."""

    type: Literal["bool", "number", "string", "strings", "time"] = Field(
        description="Type. `strings` is a set of strings. A `time` is sent as ISO 8601 with an offset."
    )

    @property
    def kind(self) -> AttributeType:
        """The type."""
        return AttributeType(self.type)


class FilterIn(StrictBody):
    """Expression of a named filter."""

    expression: Annotated[str, StringConstraints(min_length=1, max_length=MAX_EXPRESSION)] = Field(
        description="Condition as in SQL's WHERE, such as `price < 50 AND 'shoes' IN categories`."
    )


class ItemPageQuery(StrictQuery):
    """One page of the catalogue."""

    filter: str | None = Field(
        default=None, min_length=1, max_length=MAX_EXPRESSION, description="Only items for which this is true."
    )
    limit: int = Field(default=100, ge=1, le=MAX_ITEMS, description="Largest number of items on the page.")
    cursor: str = Field(default="", max_length=2048, description="`next_cursor` of the page before.")
    vectors: bool = Field(default=False, description="Add each item's vector. `limit` may then be at most 100.")

    @model_validator(mode="after")
    def _check_limit(self) -> ItemPageQuery:
        """Refuse a page of vectors that would take megabytes."""
        if self.vectors and self.limit > MAX_VECTOR_ITEMS:
            raise ValueError(f"with vectors, limit must be at most {MAX_VECTOR_ITEMS}")
        return self
