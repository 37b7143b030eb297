"""Content of items, read from a table of a file."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from ingest.catalogue.item_loader import ItemTable
from ingest.catalogue.item_rows import TableOptions
from ingest.errors import DataError
from model.content.item_content import TIME, ItemContent


def read_item_contents(path: Path, options: TableOptions | None = None) -> dict[str, ItemContent]:
    """Read items as `recblr-items load` does; return content by id.

    Raises:
        DataError: the file is not understood; the message has file and remedy.
    """
    table = ItemTable(path, options or TableOptions(), {})
    return {body["item_id"]: _content(path, body, table.types) for body in table.items()}


def _content(path: Path, body: Mapping[str, Any], types: Mapping[str, str]) -> ItemContent:
    attributes = {
        name: _time(value) if types.get(name) == TIME else value for name, value in body.get("attributes", {}).items()
    }
    vector = body.get("vector")
    try:
        values = None if vector is None else np.asarray(vector, np.float32)
    except (TypeError, ValueError):
        values = np.zeros((0, 0), np.float32)
    if values is not None and values.ndim != 1:
        raise DataError(f"{path}: the vector of item {body['item_id']!r} is not a list of numbers; correct it")
    return ItemContent(body.get("title"), tuple(body.get("categories", ())), attributes, values)


def _time(value: object) -> object:
    """Return a time.

    What is none stays as it is, and is left out as a value of another kind.
    """
    try:
        return datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        return value
