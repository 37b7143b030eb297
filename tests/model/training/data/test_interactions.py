"""Histories read from files of every form."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from ingest.errors import DataError
from model.training.data.interactions import Interactions, read_interactions

# (user, item, time) in order of time. Some times are equal, and the ids sort in another order.
EVENTS = [
    ("u2", "30", 100),
    ("u2", "9", 100),
    ("u2", "100", 100),
    ("u2", "9", 250),
    ("u1", "9", 300),
    ("u1", "7", 300),
    ("u1", "30", 1000),
    ("007", "7", 1001),
]
# The same events in another order of lines; events of equal time keep their order.
SHUFFLED = [EVENTS[n] for n in (6, 0, 3, 4, 7, 1, 5, 2)]


def write(path: Path, events: list[tuple[str, str, int]]) -> Path:
    users, items, times = ([event[n] for event in events] for n in range(3))
    if path.suffix == ".parquet":
        table = pa.table({"timestamp": times, "item_id": items, "user_id": users})
        pyarrow.parquet.write_table(table, path)
    elif path.suffix == ".csv":
        path.write_text("item_id,user_id,timestamp\n" + "".join(f"{i},{u},{t}\n" for u, i, t in events))
    elif path.suffix == ".inter":
        head = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
        path.write_text(head + "".join(f"{u}\t{i}\t3.5\t{t}.0\n" for u, i, t in events))
    else:
        lines: dict[str, list[str]] = {}
        for user, item, _ in sorted(events, key=lambda event: event[2]):
            lines.setdefault(user, []).append(item)
        path.write_text("".join(f"{user} {' '.join(items)}\n" for user, items in lines.items()))
    return path


def are_equal(a: Interactions, b: Interactions) -> bool:
    arrays = np.array_equal(a.rows, b.rows) and np.array_equal(a.offsets, b.offsets)
    return arrays and list(a.item_ids) == list(b.item_ids) and list(a.user_ids) == list(b.user_ids)


@pytest.mark.parametrize("events", [EVENTS, SHUFFLED], ids=["sorted", "shuffled"])
@pytest.mark.parametrize("name", ["e.inter", "e.csv", "e.parquet", "e.txt"])
def test_all_formats_give_the_same_histories(tmp_path: Path, name: str, events: list[tuple[str, str, int]]) -> None:
    data = read_interactions([write(tmp_path / name, events)])
    assert list(data.user_ids) == ["u2", "u1", "007"]
    assert list(data.item_ids) == ["30", "9", "100", "7"]
    assert data.rows.tolist() == [1, 2, 3, 2, 2, 4, 1, 4]
    assert data.offsets.tolist() == [0, 4, 7, 8]
    assert are_equal(data, read_interactions([write(tmp_path / f"plain-{name}", EVENTS)]))


@pytest.mark.parametrize("name", ["e.inter", "e.csv", "e.parquet"])
def test_events_of_equal_time_keep_the_order_of_the_file(tmp_path: Path, name: str) -> None:
    items = [str(n) for n in np.random.default_rng(1).permutation(500)]
    data = read_interactions([write(tmp_path / name, [("u", item, 5) for item in items])])
    assert [data.item_ids[row - 1] for row in data.rows] == items


@pytest.mark.parametrize("name", ["e.inter", "e.csv", "e.parquet", "e.txt"])
def test_given_items_determine_the_rows_and_other_items_are_left_out(tmp_path: Path, name: str) -> None:
    data = read_interactions([write(tmp_path / name, EVENTS)], item_ids=["7", "9", "unseen"])
    assert data.rows.tolist() == [2, 2, 2, 1, 1]
    assert data.offsets.tolist() == [0, 2, 4, 5]
    assert list(data.item_ids) == ["7", "9", "unseen"]


def test_table_without_timestamps_is_in_order_of_its_lines(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("user_id,item_id\nb,2\na,1\nb,1\n")
    data = read_interactions([tmp_path / "e.csv"])
    assert list(data.user_ids) == ["b", "a"]
    assert data.rows.tolist() == [1, 2, 2]


def test_timestamps_may_be_dates(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text(
        "user_id,item_id,timestamp\na,late,2024-10-05T09:00:00Z\na,early,2024-09-30T10:00:00Z\n"
    )
    times = [datetime(2024, 10, 5, tzinfo=UTC), datetime(2024, 9, 30, tzinfo=UTC)]
    table = pa.table({"user_id": ["a", "a"], "item_id": ["late", "early"], "timestamp": times})
    pyarrow.parquet.write_table(table, tmp_path / "e.parquet")
    for name in ("e.csv", "e.parquet"):
        assert list(read_interactions([tmp_path / name]).item_ids) == ["early", "late"]


def test_ids_are_the_text_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("user_id,item_id,timestamp\n01,007,1\n1,7,2\nNA,null,3\n")
    data = read_interactions([tmp_path / "e.csv"])
    assert list(data.user_ids) == ["01", "1", "NA"]
    assert list(data.item_ids) == ["007", "7", "null"]


def test_integer_ids_of_a_parquet_file_become_text(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pa.table({"user_id": [1, 1], "item_id": [7, 8]}), tmp_path / "e.parquet")
    assert list(read_interactions([tmp_path / "e.parquet"]).item_ids) == ["7", "8"]


def test_blank_lines_between_sequences_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "e.txt").write_text("a 1 2\n\n   \nb 2 1\n\n")
    assert read_interactions([tmp_path / "e.txt"]).rows.tolist() == [1, 2, 2, 1]


@pytest.mark.parametrize("missing", ["user_id", "item_id"])
@pytest.mark.parametrize("suffix", [".csv", ".inter", ".parquet"])
def test_missing_column_raises(tmp_path: Path, suffix: str, missing: str) -> None:
    path = write(tmp_path / f"e{suffix}", EVENTS)
    if suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.parquet.read_table(path).drop_columns([missing]), path)
    else:
        path.write_text(path.read_text().replace(missing, "other", 1))
    with pytest.raises(DataError, match=r"no columns? for .*recognised"):
        read_interactions([path])


@pytest.mark.parametrize("column", ["user_id", "item_id", "timestamp"])
@pytest.mark.parametrize("suffix", [".csv", ".inter", ".parquet"])
def test_row_without_a_value_raises(tmp_path: Path, suffix: str, column: str) -> None:
    path = tmp_path / f"e{suffix}"
    rows = {"user_id": ["a", "b"], "item_id": ["x", "y"], "timestamp": [1, 2]} | {column: [None, None]}
    rows[column][0] = {"user_id": "a", "item_id": "x", "timestamp": 1}[column]
    if suffix == ".parquet":
        pyarrow.parquet.write_table(pa.table(rows), path)
    else:
        separator, kind = (",", "") if suffix == ".csv" else ("\t", ":token")
        lines = zip(*rows.values(), strict=True)
        text = [separator.join("" if value is None else str(value) for value in line) for line in lines]
        path.write_text("\n".join([separator.join(name + kind for name in rows), *text]) + "\n")
    with pytest.raises(DataError, match=rf"{path.name}(:|, row )\d: {column}"):
        read_interactions([path])


@pytest.mark.parametrize("content", [b"", b"user_id,item_id,timestamp\n", b"\xff\xfe\x00", b"PAR1", b"a\nb\n"])
@pytest.mark.parametrize("suffix", [".csv", ".inter", ".parquet", ".txt"])
def test_file_without_events_raises(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"e{suffix}"
    path.write_bytes(content if suffix != ".inter" else content.replace(b",", b"\t"))
    if suffix == ".txt" and b"," in content:
        path.write_bytes(b"\n")
    with pytest.raises(DataError, match=path.name) as raised:
        read_interactions([path])
    assert len(str(raised.value)) < 500


def test_missing_file_raises(tmp_path: Path) -> None:
    for name in ("e.csv", "e.inter", "e.parquet", "e.txt"):
        with pytest.raises(DataError, match="cannot be read"):
            read_interactions([tmp_path / name])


def test_without_last_removes_the_newest_events_of_each_history(tmp_path: Path) -> None:
    data = read_interactions([write(tmp_path / "e.txt", EVENTS)])
    shorter = data.without_last(2)
    assert shorter.rows.tolist() == [1, 2, 2]
    assert shorter.offsets.tolist() == [0, 2, 3, 3]
    assert are_equal(data.without_last(0), data)
    assert not len(data.without_last(9).rows)
    assert data.popularity().tolist() == [0, 2, 3, 1, 2]
    assert data.summary() == {"users": 3, "items": 4, "events": 8, "median_history": 3.0, "longest_history": 4}


@pytest.mark.parametrize("time", ["nan", "inf", "-inf"])
def test_timestamp_that_is_not_finite_raises(tmp_path: Path, time: str) -> None:
    path = tmp_path / "events.csv"
    path.write_text(f"user_id,item_id,timestamp\na,1,{time}\na,2,5\n")
    with pytest.raises(DataError, match=r"events.csv:2: timestamp"):
        read_interactions([path])


def test_size_has_the_density_and_the_mean_history(tmp_path: Path) -> None:
    size = read_interactions([write(tmp_path / "e.txt", EVENTS)]).size
    assert size == (3, 4, 8)
    assert size.density == pytest.approx(8 / 12**0.5)
    assert size.mean_history == pytest.approx(8 / 3)
