"""Export the service's event log to a folder of Parquet files.

A second run adds only what is new.

    export.json                   source of the export, and each shard's count of deletions when it was last read
    shard-07-000001.parquet       events in order of arrival: the fields of a `LoggedEvent`

The metadata of a part holds the position of its last event in the log. A part grows by being replaced atomically, so
events and position change together: a killed export resumes without duplicates, and the folder can be read at any
time. A run without new events writes nothing.

Events that retention removed from the log stay in the export; deleted events do not. If a shard's count of deletions
has changed, or the positions are those of another log, the shard's parts are removed. The shard is then read again
from its start. The counts are checked once more at the end of a run.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ingest.errors import DataError
from model.training.data.event_log import EventLog, LoggedEvent, Position, open_log
from model.training.data.export_files import ExportState, append_to_part, read_part_footer

MAX_PART_EVENTS = 1 << 17  # bounds the memory: at most this many events are held at a time
_READ_BATCH_EVENTS = 10_000
# The second pass follows deletions during the first; a log with deletions all the time waits for the next run.
_MAX_PASSES = 3


@dataclass(frozen=True, slots=True)
class ExportResult:
    """Figures of a run.

    Attributes:
        events: events that the folder holds now.
        added: events that this run added.
        reread: shards that were read again from their start.
    """

    events: int
    added: int
    reread: int


def export_log(url: str, folder: Path, part_events: int = MAX_PART_EVENTS) -> ExportResult:
    """Bring an export up to date with the event log.

    Args:
        url: state URL of the service.
        folder: folder of the export; created if it does not exist.
        part_events: largest number of events in a part.

    Raises:
        DataError: the log cannot be read, the folder holds something else, or another export uses it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _exclusive_lock(folder), open_log(url) as log:
        state = ExportState.load(folder, log.name)
        added = reread = 0
        shards = list(range(log.shards))
        for _ in range(_MAX_PASSES):
            for shard in shards:
                shard_export = _ShardExport(folder, shard, part_events)
                # Read before the events: a deletion in the meantime is then found by the next comparison.
                deletions = log.deletions(shard)
                if deletions != state.deletions(shard) or log.newest(shard) < shard_export.position:
                    reread += bool(shard_export.position)
                    shard_export.remove_parts()
                    state.save_deletions(shard, deletions)
                added += shard_export.append_new_events(log)
            # A user merge in the meantime can have moved events from a shard already read to one read later.
            shards = [shard for shard in range(log.shards) if log.deletions(shard) != state.deletions(shard)]
            if not shards:
                break
    events = sum(read_part_footer(path).events for path in folder.glob("*.parquet"))
    return ExportResult(events, added, reread)


class _ShardExport:
    """The parts of one shard."""

    def __init__(self, folder: Path, shard: int, part_events: int) -> None:
        self._folder = folder
        self._shard = shard
        self._part_events = part_events
        for leftover in folder.glob(f"shard-{shard:02d}-*.temporary"):
            leftover.unlink()

    @property
    def _parts(self) -> list[Path]:
        return sorted(self._folder.glob(f"shard-{self._shard:02d}-*.parquet"))

    @property
    def position(self) -> Position:
        """Position in the log of the last exported event."""
        return read_part_footer(self._parts[-1]).position if self._parts else ()

    def remove_parts(self) -> None:
        """Remove all parts, newest first.

        A run that is killed meanwhile leaves a shorter export whose position is still true.
        """
        for path in reversed(self._parts):
            path.unlink()

    def append_new_events(self, log: EventLog) -> int:
        """Append the events after the last exported one; return their number."""
        parts, added = self._parts, 0
        number, position = len(parts), self.position
        in_part = read_part_footer(parts[-1]).events if parts else self._part_events
        while True:
            if in_part >= self._part_events:
                number, in_part = number + 1, 0
            events, position = _read_events(log, self._shard, position, self._part_events - in_part)
            if not events:
                return added
            path = self._folder / f"shard-{self._shard:02d}-{number:06d}.parquet"
            append_to_part(path, events, position)
            added += len(events)
            in_part += len(events)


def _read_events(log: EventLog, shard: int, after: Position, limit: int) -> tuple[list[LoggedEvent], Position]:
    events: list[LoggedEvent] = []
    while len(events) < limit:
        batch, after = log.read(shard, after, min(_READ_BATCH_EVENTS, limit - len(events)))
        if not batch:
            break
        events += batch
    return events, after


@contextmanager
def _exclusive_lock(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DataError(f"another export writes to {folder}; wait until it has finished") from None
        yield
