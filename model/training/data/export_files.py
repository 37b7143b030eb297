"""Parquet parts and state file of an export.

Every write is atomic and durable.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet

from ingest.errors import DataError
from model.training.data.event_log import LoggedEvent, Position

STATE_FILE = "export.json"
_FORMAT = 1
_POSITION_KEY = b"recblr.position"
_SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("item_id", pa.string()),
        ("timestamp", pa.float64()),
        ("sequence", pa.int64()),
        ("event_id", pa.string()),
        ("arrived", pa.float64()),  # null in parts of before there was this column, as those below
        ("type", pa.string()),  # null for a view
        ("value", pa.float64()),
        ("recommendation_id", pa.string()),
        ("answer_version", pa.string()),  # of a verified recommendation id, as the position
        ("answer_position", pa.int64()),
    ]
)


class PartFooter(NamedTuple):
    """Number of events in a part, and position of the last one."""

    events: int
    position: Position


def read_part_footer(path: Path) -> PartFooter:
    """Read the footer of a part.

    Raises `DataError` if the file is not a part of an export.
    """
    try:
        footer = pyarrow.parquet.read_metadata(path)
        position = json.loads((footer.metadata or {})[_POSITION_KEY])
    except (OSError, ValueError, KeyError, pa.ArrowException):
        raise DataError(f"{path} is not a part of an export; remove its folder and export again") from None
    return PartFooter(int(footer.num_rows), tuple(position))


def append_to_part(path: Path, events: Sequence[LoggedEvent], position: Position) -> None:
    """Append events to a part, or create the part.

    Parts grow instead of one part per run, because each night would leave 64 more files.
    """
    columns = zip(*events, strict=True)
    table = pa.table([pa.array(c, f.type) for c, f in zip(columns, _SCHEMA, strict=True)], schema=_SCHEMA)
    if path.exists():
        table = pa.concat_tables([pyarrow.parquet.read_table(path, schema=_SCHEMA, partitioning=None), table])
    table = table.replace_schema_metadata({_POSITION_KEY: json.dumps(position).encode()})
    temporary = path.with_name(f"{path.name}.temporary")
    with temporary.open("wb") as file:
        pyarrow.parquet.write_table(table, file, compression="zstd")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


@dataclass(slots=True)
class ExportState:
    """Contents of `export.json`.

    They are the source of the export, and each shard's count of deletions when it was last read from its start.
    """

    _folder: Path
    _source: str
    _deletions: dict[str, int]

    @classmethod
    def load(cls, folder: Path, source: str) -> ExportState:
        """Load an export's state, or create it in an empty folder.

        Raises:
            DataError: the folder holds other files, a damaged state or the export of another log.
        """
        path = folder / STATE_FILE
        try:
            content = json.loads(path.read_bytes())
            if content["format"] != _FORMAT or not isinstance(content["deletions"], dict):
                raise ValueError
            state = cls(folder, content["source"], content["deletions"])
        except FileNotFoundError:
            if any(folder.glob("*.parquet")):
                raise DataError(f"{folder} holds other Parquet files; export to a folder of its own") from None
            state = cls(folder, source, {})
            state._save()
        except (OSError, ValueError, KeyError, TypeError):
            raise DataError(f"{path} is not the state of an export; remove its folder and export again") from None
        if state._source != source:
            raise DataError(f"{folder} holds the export of {state._source}; export {source} to another folder")
        return state

    def deletions(self, shard: int) -> int:
        """Return the shard's count of deletions at its last full read."""
        return self._deletions.get(str(shard), 0)

    def save_deletions(self, shard: int, deletions: int) -> None:
        """Store the count of deletions before the shard is read."""
        self._deletions[str(shard)] = deletions
        self._save()

    def _save(self) -> None:
        temporary = self._folder / f"{STATE_FILE}.temporary"
        with temporary.open("w", encoding="utf-8") as file:
            json.dump({"format": _FORMAT, "source": self._source, "deletions": self._deletions}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._folder / STATE_FILE)
