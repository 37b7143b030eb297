"""Load a table of items into a running service."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ingest.catalogue.column_kinds import STRINGS, TIME, ColumnKinds
from ingest.catalogue.item_bodies import ItemBodies, attribute_name
from ingest.catalogue.item_ids import ItemIds
from ingest.catalogue.item_rows import TYPES_KEY, Row, TableOptions, is_text_table, read_rows
from ingest.errors import DataError
from ingest.loading.batch_client import BatchClient
from ingest.loading.progress_file import ProgressFile
from ingest.reading.column_names import find_fields

BATCH_ITEMS = 1000  # the most that the service takes at once
BATCH_BYTES = 3 << 20
_FIELDS = {"item_id", "title", "categories", "available", "vector"}


@dataclass(slots=True)
class ItemLoadResult:
    """Counts of a load.

    Attributes:
        sent: items that the service has acknowledged in this run, `changed` of which were new or other before.
        resumed: items that earlier runs had sent.
        refused: items that the service has refused, with `first_refusal`.
        pruned: items deleted because the file does not have them.
    """

    sent: int = 0
    changed: int = 0
    resumed: int = 0
    refused: int = 0
    pruned: int = 0
    first_refusal: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the counts, ready for JSON."""
        return {name: value for name, value in asdict(self).items() if name != "first_refusal"}


class ItemTable:
    """A file of items: its columns, types and rows.

    Attributes:
        count: number of items.
        types: types of the attributes that have values, by name.
    """

    def __init__(self, path: Path, options: TableOptions, declared: dict[str, str]) -> None:
        """Read the file once, for its columns; raises `DataError`.

        A type that the service has declared counts before one that the values suggest.
        """
        self._path = path
        self._options = options
        source = str(path)
        text = is_text_table(path, options)
        kinds, ids = ColumnKinds(text=text), ItemIds(text=text)
        names: dict[str, None] = {}
        fields: dict[str, str] = {}
        stated: dict[str, str] = {}
        self.count = 0
        for row in read_rows(path, options):
            if row.keys() == {TYPES_KEY}:
                stated = row[TYPES_KEY]
                continue
            self.count += 1
            for name, value in row.items():
                names[name] = None
                kinds.add(name, value)
            if text:  # all rows have the same columns
                fields = fields or find_fields(source, list(names), options.fields)
                ids.add(row[fields["item"]])
        if not self.count:
            raise DataError(f"{source} holds no items")
        fields = fields or find_fields(source, list(names), options.fields)
        taken = {*fields.values(), *options.left_out, options.vector}
        columns: dict[str, tuple[str, str]] = {}
        for column in kinds.names:
            if column in taken or column in _FIELDS:
                continue
            name = attribute_name(column, options)
            suggested = TIME if column in options.times else STRINGS if column in options.sets else None
            kind = declared.get(name) or stated.get(name) or suggested or kinds.kind(source, column)
            columns[column] = name, kind
        self.types = dict(columns.values())
        if len(self.types) < len(columns):
            raise DataError(
                f"{source}: two columns have the same attribute's name; give one with --attribute COLUMN=NAME"
            )
        self._bodies = ItemBodies(source, fields, columns, ids, options, text=text)

    def items(self) -> Iterator[dict[str, Any]]:
        """Yield the items as the service takes them."""
        rows: Iterator[Row] = (row for row in read_rows(self._path, self._options) if row.keys() != {TYPES_KEY})
        for number, row in enumerate(rows, start=1):
            yield self._bodies.build(row, number)


class ItemLoader:
    """Puts items over HTTP.

    Args:
        client: sends the requests.
        report: called with the number of items done after each batch.
    """

    def __init__(self, client: BatchClient, report: Callable[[int], None]) -> None:
        self._client = client
        self._report = report

    def declared(self) -> dict[str, str]:
        """Return the declared types, by name."""
        found = self._client.request("GET", "/v1/attributes")["attributes"]
        return {attribute["name"]: attribute["type"] for attribute in found}

    def load(self, table: ItemTable, declared: dict[str, str], progress: ProgressFile) -> ItemLoadResult:
        """Declare the attributes, then put the items.

        Items that earlier runs have put are left out.

        Raises:
            DataError: the service does not answer, or refuses a request as such.
        """
        for name, kind in table.types.items():
            if name not in declared:
                self._client.request("PUT", f"/v1/attributes/{name}", body={"type": kind})
        result = ItemLoadResult(resumed=progress.read())
        for batch in _batches(islice(table.items(), result.resumed, None)):
            for answer in self._client.request("POST", "/v1/items/batch", body={"items": batch})["results"]:
                if "error" in answer:
                    result.refused += 1
                    result.first_refusal = result.first_refusal or _reason(answer["error"])
                else:
                    result.sent += 1
                    result.changed += bool(answer["changed"])
            done = result.resumed + result.sent + result.refused
            progress.write(done)
            self._report(done)
        progress.remove()
        return result

    def prune(self, table: ItemTable, max_share: float) -> int:
        """Delete the items that the table does not have; return their number.

        Raises:
            DataError: more than `max_share` of the catalogue would be deleted.
        """
        kept = {item["item_id"] for item in table.items()}
        total, gone = 0, []
        cursor: str | None = ""
        while cursor is not None:
            page = self._client.request("GET", "/v1/items", query={"limit": BATCH_ITEMS, "cursor": cursor})
            total += len(page["items"])
            gone += [item["item_id"] for item in page["items"] if item["item_id"] not in kept]
            cursor = page["next_cursor"]
        if len(gone) > max_share * total:
            raise DataError(
                f"{len(gone):,} of {total:,} items are not in the file; nothing was deleted. Check the file, or "
                "allow more with --max-prune"
            )
        for item_id in gone:
            self._client.request("DELETE", "/v1/item", query={"item_id": item_id})
        return len(gone)


def _reason(error: dict[str, Any]) -> str:
    details = "; ".join(f"{detail['field']} {detail['problem']}" for detail in error.get("details") or ())
    return f"{error.get('message')}: {details}" if details else str(error.get("message"))


def _batches(items: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    size = 0
    for item in items:
        item_size = len(json.dumps(item)) + 2
        if batch and (len(batch) == BATCH_ITEMS or size + item_size > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += item_size
    if batch:
        yield batch
