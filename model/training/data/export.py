"""The service's event log as a folder of Parquet files, brought up to date by each run.

    export.json                       which log this is, and each shard's count of deletions when it was last read
    shard-07-000001.parquet           events in order of arrival: user_id, item_id, timestamp, sequence, event_id

A part carries the log's position after its last event in its own metadata and replaces its predecessor by a rename:
events and position change in one step, so an export that is killed goes on where it stood and duplicates nothing, and
the folder can be read at any time. A run that finds nothing new writes nothing.

What retention has trimmed from the log stays in the export. What a person deleted does not, and what a merge moved
stands there once: when a shard's count of deletions has changed, or the log is not the one that was read (its
positions end before ours), the shard's parts are removed and it is read from the start, so that it holds exactly what
the log holds. At the end of a run the counts are looked at again.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from model.training.data.event_log import EventLog, LoggedEvent, Position, open_log
from model.training.errors import DataError

PART_EVENTS = 1 << 17  # bounds memory: no more than this many events are held at a time
_FORMAT = 1
_BATCH = 10_000
_PASSES = (
    3  # with the second, a log that is edited while it is read; those who edit it all the time wait for a next run
)
_STATE = "export.json"
_POSITION = b"recblr.position"
_SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("item_id", pa.string()),
        ("timestamp", pa.float64()),
        ("sequence", pa.int64()),
        ("event_id", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class Exported:
    """What a run did: events that the folder holds, events added, and shards that were read again."""

    events: int
    added: int
    reread: int


def export_log(url: str, folder: Path, part_events: int = PART_EVENTS) -> Exported:
    """Bring `folder` up to date with the log at `url`; raises `DataError`.

    One run at a time has the folder. Parts hold at most `part_events` events.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder), open_log(url) as log:
        state = _load_state(folder, log)
        added = reread = 0
        shards = list(range(log.shards))
        for _ in range(_PASSES):
            for shard in shards:
                writer = _Shard(folder, shard, part_events)
                # Counted before reading: a deletion that happens meanwhile changes what is compared next.
                count, key = log.deletions(shard), str(shard)
                position = writer.position
                if count != state["deletions"].get(key, 0) or log.newest(shard) < position:
                    reread += bool(position)
                    writer.remove_all()
                    _save_state(folder, state, key, count)
                added += writer.follow(log)
            # A merge that came meanwhile may have moved events to where they were read a second time.
            shards = [n for n in range(log.shards) if log.deletions(n) != state["deletions"].get(str(n), 0)]
            if not shards:
                break
    return Exported(sum(_rows(path) for path in folder.glob("*.parquet")), added, reread)


class _Shard:
    """The parts of one shard."""

    def __init__(self, folder: Path, shard: int, part_events: int) -> None:
        self._folder = folder
        self._shard = shard
        self._limit = part_events
        for leftover in folder.glob(f"shard-{shard:02d}-*.aside"):
            leftover.unlink()

    @property
    def _parts(self) -> list[Path]:
        return sorted(self._folder.glob(f"shard-{self._shard:02d}-*.parquet"))

    @property
    def position(self) -> Position:
        """The log's position after the last exported event."""
        return _position_of(self._parts[-1]) if self._parts else ()

    def remove_all(self) -> None:
        """Newest first: what a kill leaves is a shorter export, and its own position says so."""
        for path in reversed(self._parts):
            path.unlink()

    def follow(self, log: EventLog) -> int:
        """Append what the log has beyond the parts; how many events that was."""
        parts, added = self._parts, 0
        number = len(parts)
        held = _rows(parts[-1]) if parts else self._limit
        position = self.position
        while True:
            if held >= self._limit:
                number, held = number + 1, 0
            path = self._folder / f"shard-{self._shard:02d}-{number:06d}.parquet"
            events, position = _gather(log, self._shard, position, self._limit - held)
            if not events:
                return added
            columns = zip(*events, strict=True)
            table = pa.table([pa.array(c, f.type) for c, f in zip(columns, _SCHEMA, strict=True)], schema=_SCHEMA)
            if held:  # a part that is not full grows, or each night would leave 64 more files
                table = pa.concat_tables([_read_part(path), table])
            _write_part(path, table, position)
            added += len(events)
            held += len(events)


def _gather(log: EventLog, shard: int, after: Position, limit: int) -> tuple[list[LoggedEvent], Position]:
    events: list[LoggedEvent] = []
    while len(events) < limit:
        batch, after = log.read(shard, after, min(_BATCH, limit - len(events)))
        if not batch:
            break
        events += batch
    return events, after


def _write_part(path: Path, table: pa.Table, position: Position) -> None:
    aside = path.with_name(f"{path.name}.aside")
    table = table.replace_schema_metadata({_POSITION: json.dumps(position).encode()})
    with aside.open("wb") as file:
        pyarrow.parquet.write_table(table, file, compression="zstd")
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def _read_part(path: Path) -> pa.Table:
    return pyarrow.parquet.read_table(path, schema=_SCHEMA, partitioning=None)


def _rows(path: Path) -> int:
    return int(_footer(path).num_rows)


def _position_of(path: Path) -> Position:
    return tuple(json.loads((_footer(path).metadata or {})[_POSITION]))


def _footer(path: Path) -> pyarrow.parquet.FileMetaData:
    try:
        footer = pyarrow.parquet.read_metadata(path)
        json.loads((footer.metadata or {})[_POSITION])
    except (OSError, ValueError, KeyError, pa.ArrowException):
        raise DataError(f"{path} is not a part of an export; remove its folder and export again") from None
    return footer


def _load_state(folder: Path, log: EventLog) -> dict[str, Any]:
    path = folder / _STATE
    try:
        state = json.loads(path.read_bytes())
        if state["format"] != _FORMAT or not isinstance(state["deletions"], dict):
            raise ValueError
    except FileNotFoundError:
        if any(folder.glob("*.parquet")):
            raise DataError(f"{folder} holds other Parquet files; export to a folder of its own") from None
        state = {"format": _FORMAT, "source": log.name, "deletions": {}}
        _save_state(folder, state)
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError(f"{path} is not the state of an export; remove its folder and export again") from None
    if state["source"] != log.name:
        raise DataError(f"{folder} holds the export of {state['source']}; export {log.name} to another folder")
    return state  # type: ignore[no-any-return]


def _save_state(folder: Path, state: dict[str, Any], shard: str | None = None, deletions: int = 0) -> None:
    if shard is not None:
        state["deletions"][shard] = deletions
    aside = folder / f"{_STATE}.aside"
    with aside.open("w", encoding="utf-8") as file:
        json.dump(state, file)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(folder / _STATE)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DataError(f"another export writes to {folder}; wait for it") from None
        yield
