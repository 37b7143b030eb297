"""Splitting an exported log by time."""

from __future__ import annotations

import math
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from ingest.errors import DataError
from model.training.data.export import export_log
from model.training.data.interactions import read_interactions
from model.training.data.time_split import read_timeline, split_by_time
from tests.model.training.logs import append, timeline_of
from tests.store.backends import SqliteBackend


def test_training_data_hold_no_event_after_the_cut(tmp_path: Path) -> None:
    """A late event with an old timestamp gets the previous event's time."""
    found = timeline_of(
        tmp_path,
        [("a", "x", 1.0), ("a", "y", 9.0), ("b", "x", 2.0), ("a", "z", 3.0), ("b", "q", 8.0), ("c", "w", 9.5)],
    )
    by_user = {
        user: found.times[found.offsets[n] : found.offsets[n + 1]].tolist() for n, user in enumerate(found.user_ids)
    }
    assert by_user == {"a": [1, 9, 9], "b": [2, 8], "c": [9.5]}
    data = found.before(8.5)
    assert list(data.user_ids) == ["a", "b"]
    assert [data.item_ids[row - 1] for row in data.rows] == ["x", "x", "q"]
    assert data.offsets.tolist() == [0, 1, 3]
    assert data.popularity().tolist() == [0, 2, 1]
    assert found.newest_time_before(8.5) == 8.0
    assert found.newest_after(8.0, 10).sum() == 2  # the late event has a time of its own, before 8.0
    assert found.newest_after(8.0, 1).sum() == 1


def test_cut_holds_out_the_newest_events(tmp_path: Path) -> None:
    found = timeline_of(tmp_path, [("a", f"i{n}", float(3600 * (n // 2))) for n in range(20)])
    assert (found.times >= found.cut(0.1, None)).sum() == 2
    assert (found.times >= found.cut(0.25, None)).sum() == 6  # events of equal time stay together
    assert (found.times >= found.cut(0.0001, None)).sum() == 2
    assert (found.times >= found.cut(0.5, 3.0)).sum() == 8


def events_of_one_user(count: int) -> list[tuple[str, str, float]]:
    return [("a", f"i{n}", float(n)) for n in range(count)]


def test_split_trains_before_the_cut_and_holds_out_the_rest(tmp_path: Path) -> None:
    found = timeline_of(tmp_path, events_of_one_user(20))
    split = split_by_time(found, 0.2, None, live_trained_until=-math.inf, max_held_out=100, min_train=4)
    assert (split.cut, split.trained_until) == (16.0, 15.0)
    assert len(split.train.rows) == 16
    assert split.held_out_events == 4


def test_split_never_holds_out_what_the_live_model_was_trained_on(tmp_path: Path) -> None:
    found = timeline_of(tmp_path, events_of_one_user(20))
    split = split_by_time(found, 0.2, None, live_trained_until=17.0, max_held_out=100, min_train=4)
    assert split.trained_until == 17.0
    assert found.times[split.held_out].tolist() == [18.0, 19.0]


def test_split_holds_out_the_newest_events_up_to_the_limit(tmp_path: Path) -> None:
    found = timeline_of(tmp_path, events_of_one_user(20))
    split = split_by_time(found, 0.5, None, live_trained_until=-math.inf, max_held_out=3, min_train=4)
    assert found.times[split.held_out].tolist() == [17.0, 18.0, 19.0]


@pytest.mark.parametrize(("events", "min_train"), [(20, 19), (4, 1)])
def test_split_with_too_few_training_events_raises(tmp_path: Path, events: int, min_train: int) -> None:
    found = timeline_of(tmp_path, events_of_one_user(events))
    with pytest.raises(DataError, match="collect more, or hold out less"):
        split_by_time(found, 0.2, None, live_trained_until=-math.inf, max_held_out=100, min_train=min_train)


def test_export_without_events_raises(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the log holds no events"):
        read_timeline(tmp_path)


FUTURE = 253_402_300_799.0  # the end of the year 9999


def test_timestamp_in_the_future_counts_as_the_arrival(tmp_path: Path) -> None:
    before = time.time()
    found = timeline_of(tmp_path, [*events_of_one_user(5), ("b", "x", FUTURE), ("b", "y", 3.0)])
    assert found.user_ids[1] == "b"
    assert before <= found.times[5] == found.times[6] <= time.time()
    assert found.own_times[6] == 3.0


def test_event_that_arrived_in_the_future_has_the_time_before_it_and_never_decides(tmp_path: Path) -> None:
    """The server's own clock was wrong for a while."""
    backend = SqliteBackend(tmp_path / "events.db")
    append(backend, [("a", f"i{n}", float(n)) for n in range(20)] + [("a", "odd", FUTURE), ("a", "late", 20.0)])
    with closing(sqlite3.connect(backend.path)) as db, db:
        db.execute("UPDATE events SET arrived = ? WHERE item_id = 'odd'", (FUTURE,))
    export_log(backend.url, tmp_path / "export")
    found = read_timeline(tmp_path / "export")
    assert found.times[-3:].tolist() == [19.0, 19.0, 20.0]
    split = split_by_time(found, 0.2, None, live_trained_until=-math.inf, max_held_out=100, min_train=4)
    assert [found.item_ids[item] for item in found.items[split.held_out]] == ["i18", "i19", "late"]


def test_imported_history_behind_live_events_never_decides(tmp_path: Path) -> None:
    """The old events arrive last, behind the same user's live ones."""
    live = [("a", f"i{n}", 1000.0 + n) for n in range(20)]
    imported = [("a", f"old{n}", float(n)) for n in range(5)]
    found = timeline_of(tmp_path, [*live, *imported, ("a", "new", 1030.0)])
    split = split_by_time(found, 0.4, None, live_trained_until=1010.0, max_held_out=100, min_train=4)
    held_out = [found.item_ids[item] for item in found.items[split.held_out]]
    assert held_out == [*(f"i{n}" for n in range(16, 20)), "new"]


def test_export_without_arrivals_is_read_by_its_timestamps(tmp_path: Path) -> None:
    timeline_of(tmp_path, events_of_one_user(5))
    [part] = (tmp_path / "timeline").glob("*.parquet")
    pyarrow.parquet.write_table(pyarrow.parquet.read_table(part).drop_columns("arrived"), part)
    assert read_timeline(tmp_path / "timeline").times.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_types_are_read_and_impressions_left_out(tmp_path: Path) -> None:
    timeline_of(tmp_path, events_of_one_user(5))
    [part] = (tmp_path / "timeline").glob("*.parquet")
    table = pyarrow.parquet.read_table(part)
    types = pa.array([None, "cart", "impression", "purchase", "cart"])
    table = table.drop_columns(set(table.column_names) & {"type"}).append_column("type", types)
    pyarrow.parquet.write_table(table, part)
    found = read_timeline(tmp_path / "timeline")
    assert found.types is not None
    names = list(found.types.rules)
    assert [names[code] for code in found.types.codes] == ["view", "cart", "purchase", "cart"]
    assert found.times.tolist() == [0.0, 1.0, 3.0, 4.0]
    data = read_interactions([tmp_path / "timeline"])
    assert data.types is not None
    assert data.types.codes.tolist() == found.types.codes.tolist()
