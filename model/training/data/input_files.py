"""Read files of events and exports of the log as histories."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ingest.errors import DataError
from ingest.read_options import ReadOptions
from ingest.reading.event_cleaner import ReadSummary
from ingest.reading.event_table import read_events
from model.training.data.export_reader import is_export, read_export
from model.training.data.history_builder import Histories, HistoryBuilder
from model.training.event_types.type_rules import IMPRESSION

_MANY_DUPLICATES = 0.01  # of the events: more is hardly meant


@dataclass(slots=True)
class InputReport:
    """Report of what was read and left out; filled while reading.

    Attributes:
        summaries: one for each file or export.
        events: events read.
        duplicates: events that repeat user, item and time of another.
        dropped: whether the duplicates were left out.
        unknown: events of items that the model does not know, which are left out.
        newest_time: newest time of the events, Unix seconds; None if their times are not known.
    """

    summaries: list[ReadSummary] = field(default_factory=list)
    events: int = 0
    duplicates: int = 0
    dropped: bool = False
    unknown: int = 0
    newest_time: float | None = None

    def lines(self) -> list[str]:
        """The report as lines of text."""
        found = [line for summary in self.summaries for line in summary.lines()]
        if self.unknown:
            found.append(f"{self.unknown:,} of {self.events:,} events have items that the model lacks: left out")
        if self.dropped and self.duplicates:
            found.append(f"{self.duplicates:,} of {self.events:,} events repeat user, item and time: left out")
        elif self.duplicates:
            advice = "; --drop-duplicates leaves them out"
            if self.duplicates > _MANY_DUPLICATES * self.events:
                advice += ", without it the metrics may be far too good"
            found.append(f"{self.duplicates:,} of {self.events:,} events repeat user, item and time{advice}")
        return found


class _Events(NamedTuple):
    """Some events, with numbers that order them, Unix times and types."""

    users: pa.Array
    items: pa.Array
    order: NDArray[np.int64] | None
    times: NDArray[np.float64] | None
    newest_time: float | None
    types: pa.Array | None = None


def read_histories(
    paths: Sequence[Path],
    options: ReadOptions,
    item_ids: Sequence[str] | None,
    report: InputReport,
    *,
    keep_times: bool = False,
) -> Histories:
    """Read the events of all inputs into histories.

    One export alone is ordered by sequence, several inputs by time, and one file without times by its rows.

    Args:
        paths: files of events, exports of the log, and folders of files.
        options: how to read the files.
        item_ids: ids of a bundle's items in order of rows; events of other items are left out.
        report: filled while reading.
        keep_times: also return the time of every event, if the events have times.

    Raises:
        DataError: an input cannot be read or holds no events, or has no times beside others.
    """
    inputs = [found for path in paths for found in _expand(path)]
    builder = HistoryBuilder(item_ids)
    for path in inputs:
        summary = ReadSummary(str(path).encode("utf-8", "replace").decode())
        report.summaries.append(summary)
        for events in _read(path, options, summary, by_time=len(inputs) > 1):
            if events.order is None and len(inputs) > 1:
                raise DataError(
                    f"{summary.source} has no times, so it cannot be ordered among the other inputs; name its "
                    " column with --time-column, or train on it alone"
                )
            if len(events.users):
                times = events.times if keep_times else None
                builder.add(events.users, events.items, events.order, times, events.types)
                newest = [time for time in (report.newest_time, events.newest_time) if time is not None]
                report.newest_time = max(newest, default=None)
    histories = builder.build(drop_duplicates=options.drop_duplicates)
    report.events, report.duplicates, report.dropped = builder.events, histories.duplicates, options.drop_duplicates
    report.unknown = builder.events - builder.known_events
    return histories


def _expand(path: Path) -> list[Path]:
    """Return the files of a folder that is no export."""
    if not path.is_dir() or is_export(path):
        return [path]
    # Spark and others write marks such as _SUCCESS beside the data.
    parts = [part for part in path.rglob("*") if part.is_file()]
    found = [part for part in parts if not any(name[0] in "._" for name in part.relative_to(path).parts)]
    if not found:
        raise DataError(f"{path} holds no files of events")
    return sorted(found)


def _read(path: Path, options: ReadOptions, summary: ReadSummary, *, by_time: bool) -> Iterator[_Events]:
    if is_export(path):
        summary.form = "export of the service's log"
        for exported in read_export(path):
            summary.events += len(exported.users)
            # Microseconds are what is left of a time after it was sent as a number of seconds.
            order = np.rint(exported.times * 1e6).astype(np.int64) * 1000 if by_time else exported.sequences
            newest = float(exported.times.max()) if by_time and len(exported.times) else None
            yield _Events(exported.users, exported.items, order, exported.times, newest, exported.types)
        return
    for chunk in read_events(path, options, summary):
        times = chunk.nanoseconds
        newest = None if times is None or not len(times) else float(times.max()) / 1e9
        seconds = None if times is None else times / 1e9
        yield _without_impressions(_Events(chunk.users, chunk.items, times, seconds, newest, chunk.types))


def _without_impressions(events: _Events) -> _Events:
    """Leave out impressions, as the reader of exports does."""
    if events.types is None:
        return events
    is_kept = pc.fill_null(pc.not_equal(events.types.cast(pa.string()), IMPRESSION), True)
    mask = is_kept.to_numpy(zero_copy_only=False)
    users, items, types = (column.filter(is_kept) for column in (events.users, events.items, events.types))
    order, times = (None if column is None else column[mask] for column in (events.order, events.times))
    return events._replace(users=users, items=items, order=order, times=times, types=types)
