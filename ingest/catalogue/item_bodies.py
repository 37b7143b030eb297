"""Convert rows of a table into items as the service takes them."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time
from typing import Any

from ingest.catalogue.column_kinds import BOOL, NUMBER, STRING, STRINGS, TIME, TRUTHS
from ingest.catalogue.item_ids import ItemIds
from ingest.catalogue.item_rows import Row, TableOptions
from ingest.errors import DataError

_YES = {"true", "1", "yes", "y", "t"}
_NO = {"false", "0", "no", "n", "f"}


def attribute_name(column: str, options: TableOptions) -> str:
    """Return the name of a column's attribute."""
    if column in options.names:
        return options.names[column]
    name = re.sub(r"[^A-Za-z0-9_]+", "_", column.strip()).strip("_") or "_"
    return f"_{name}"[:64] if name[0].isdigit() else name[:64]


class ItemBodies:
    """Builds items from rows.

    Args:
        source: file name for messages.
        fields: columns of item, title, categories and available.
        attributes: name and kind of each other column.
        ids: reads the item ids.
        options: as the user gave them.
        text: whether values have no types; an empty one is then a missing one.
    """

    def __init__(
        self,
        source: str,
        fields: Mapping[str, str],
        attributes: Mapping[str, tuple[str, str]],
        ids: ItemIds,
        options: TableOptions,
        *,
        text: bool,
    ) -> None:
        self._source = source
        self._fields = fields
        self._attributes = attributes
        self._ids = ids
        self._options = options
        self._text = text

    def build(self, row: Row, number: int) -> dict[str, Any]:
        """Return the item of a row; raises `DataError`."""
        item_id = self._ids.read(row.get(self._fields["item"]))
        if item_id is None:
            raise DataError(f"{self._source}, row {number} has no item id; correct it")
        body: dict[str, Any] = {"item_id": item_id}
        if (title := self._field(row, "title")) is not None:
            body["title"] = str(title)
        if (categories := self._field(row, "categories")) is not None:
            body["categories"] = self._strings(categories, r"[|;]")
        if (available := self._field(row, "available")) is not None:
            body["available"] = self._truth(available, number)
        if (vector := row.get(self._options.vector or "vector")) is not None:
            body["vector"] = list(vector)
        attributes = {
            name: self._value(row[column], kind)
            for column, (name, kind) in self._attributes.items()
            if self._has_value(row.get(column), kind)
        }
        if attributes:
            body["attributes"] = attributes
        return body

    def _field(self, row: Row, field: str) -> Any:  # noqa: ANN401
        value = row.get(self._fields[field]) if field in self._fields else None
        value = value.strip() if self._text and value is not None else value
        return value if self._has_value(value, STRING) else None

    def _has_value(self, value: Any, kind: str) -> bool:  # noqa: ANN401
        """Return whether there is a value.

        An empty text is one if it is a string of JSON or Parquet.
        """
        return value is not None and (value != "" or (kind == STRING and not self._text))

    def _value(self, value: Any, kind: str) -> Any:  # noqa: ANN401
        """Return a value in its type.

        The service refuses one that does not fit.
        """
        return _CONVERT.get(kind, _as_string)(value) if kind != STRINGS else self._strings(value, None)

    def _strings(self, value: Any, separators: str | None) -> list[str]:  # noqa: ANN401
        if isinstance(value, str) and value.lstrip().startswith("["):
            with contextlib.suppress(ValueError):
                value = json.loads(value)
        if isinstance(value, list | tuple):
            nested = [inner for own in value for inner in (own if isinstance(own, list | tuple) else [own])]
            return [str(each) for each in nested if each is not None]
        parts = re.split(separators or re.escape(self._options.separator), str(value))
        return [text for each in parts if (text := each.strip())]

    def _truth(self, value: Any, number: int) -> bool:  # noqa: ANN401
        text = str(value).strip().lower()
        if text in _YES | _NO:
            return text in _YES
        raise DataError(
            f"{self._source}, row {number}: {self._fields['available']!r} holds {value!r}; write true or false"
        )


def _as_bool(value: Any) -> Any:  # noqa: ANN401
    return TRUTHS.get(value.strip().lower(), value) if isinstance(value, str) else value


def _as_number(value: Any) -> Any:  # noqa: ANN401
    try:
        return value if isinstance(value, bool | int | float) else float(value)
    except ValueError:
        return value


def _as_time(value: Any) -> Any:  # noqa: ANN401
    """Return a time as ISO 8601; without an offset it is UTC."""
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            return value
    if not isinstance(value, datetime):
        return value
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()


def _as_string(value: Any) -> Any:  # noqa: ANN401
    return value if isinstance(value, str | bool | list) else str(value)


_CONVERT: Mapping[str, Callable[[Any], Any]] = {BOOL: _as_bool, NUMBER: _as_number, TIME: _as_time}
