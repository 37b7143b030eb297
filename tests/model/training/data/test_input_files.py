"""Several inputs as one, duplicates, and the report of what was read."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from ingest.errors import DataError
from ingest.read_options import ReadOptions
from model.training.data.export import export_log
from model.training.data.input_files import InputReport
from model.training.data.interactions import read_interactions
from tests.model.training.data.chunking import histories_by_user
from tests.model.training.logs import append
from tests.store.backends import SqliteBackend

HEADER = "user_id,item_id,timestamp\n"


def table(path: Path, *rows: str) -> Path:
    path.write_text(HEADER + "".join(f"{row}\n" for row in rows))
    return path


@pytest.fixture
def export(tmp_path: Path) -> Path:
    backend = SqliteBackend(tmp_path / "log.db")
    append(backend, [("ann", "d", 40.0), ("ann", "b", 20.5), ("bob", "d", 41.0)])
    export_log(backend.url, tmp_path / "export")
    return tmp_path / "export"


def test_export_alone_is_ordered_by_sequence(export: Path) -> None:
    assert histories_by_user(read_interactions([export])) == {"ann": ["d", "b"], "bob": ["d"]}


def test_file_and_export_are_ordered_by_time_as_one(tmp_path: Path, export: Path) -> None:
    file = table(tmp_path / "e.csv", "ann,c,30", "ann,a,10", "eve,a,5")
    for inputs in ([file, export], [export, file]):
        data = read_interactions(inputs)
        assert histories_by_user(data) == {"eve": ["a"], "ann": ["a", "b", "c", "d"], "bob": ["d"]}
        assert list(data.item_ids) == ["a", "b", "c", "d"]
        assert data.newest_time == 41.0


def test_types_of_a_named_column_reach_the_histories_without_impressions(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    rows = ["ann,a,1,view", "ann,b,2,buy", "ann,x,3,impression", "ann,c,4,", "eve,a,5,dislike"]
    path.write_text("user,item,time,what\n" + "\n".join(rows))
    options = ReadOptions(type_column="what", type_names=(("buy", "purchase"),))
    data = read_interactions([path], options)
    assert histories_by_user(data) == {"ann": ["a", "b", "c"], "eve": ["a"]}
    assert data.types is not None
    names = list(data.types.rules)
    assert [names[code] for code in data.types.codes] == ["view", "purchase", "view", "dislike"]
    assert read_interactions([path]).types is None


def test_history_that_was_also_loaded_into_the_log_counts_as_duplicates(tmp_path: Path, export: Path) -> None:
    """A time goes through the log as a number of seconds."""
    file = table(tmp_path / "e.csv", "ann,b,20.5", "ann,d,40")
    report = InputReport()
    data = read_interactions([file, export], ReadOptions(drop_duplicates=True), report=report)
    assert report.duplicates == 2
    assert histories_by_user(data) == {"ann": ["b", "d"], "bob": ["d"]}


def test_input_without_times_beside_others_raises(tmp_path: Path, export: Path) -> None:
    (tmp_path / "e.txt").write_text("ann 1 2\n")
    for inputs in ([tmp_path / "e.txt", export], [export, tmp_path / "e.txt"]):
        with pytest.raises(DataError, match=r"e\.txt has no times, .*--time-column"):
            read_interactions(inputs)


def test_folder_of_files_is_read_as_one_table(tmp_path: Path) -> None:
    folder = tmp_path / "table" / "day=2"
    folder.mkdir(parents=True)
    table(folder / "part-1", "ann,a,1")
    pyarrow.parquet.write_table(
        pa.table({"user_id": ["ann"], "item_id": ["b"], "timestamp": [0]}), tmp_path / "table" / "part-0.parquet"
    )
    (tmp_path / "table" / "_SUCCESS").touch()
    (folder / ".part-1.crc").write_bytes(b"\0")
    assert histories_by_user(read_interactions([tmp_path / "table"])) == {"ann": ["b", "a"]}


def test_folder_without_files_raises(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no files of events"):
        read_interactions([tmp_path])


@pytest.mark.usefixtures("chunk_size")
@pytest.mark.parametrize("drop", [False, True])
def test_duplicate_rows_are_counted_and_dropped_if_asked(tmp_path: Path, drop: bool) -> None:
    rows = [f"u{n % 5},i{n % 7},{n // 3}" for n in range(300)]
    again = [row for n, row in enumerate(rows) if n % 4 == 0]
    report = InputReport()
    path = table(tmp_path / "e.csv", *again, *rows, *again)
    data = read_interactions([path], ReadOptions(drop_duplicates=drop), report=report)
    assert report.duplicates == 2 * len(again)
    plain = histories_by_user(read_interactions([table(tmp_path / "plain.csv", *rows)]))
    assert len(data.rows) == len(rows) + (0 if drop else 2 * len(again))
    found = histories_by_user(data)
    assert {user: sorted(items) for user, items in found.items()} == {
        user: sorted(items if drop else items + [row.split(",")[1] for row in 2 * again if row.startswith(user)])
        for user, items in plain.items()
    }
    assert ("left out" in report.lines()[-1]) is drop
    assert ("--drop-duplicates" in report.lines()[-1]) is not drop


def test_report_says_what_was_read_and_left_out(tmp_path: Path) -> None:
    path = table(tmp_path / "e.csv", "ann,a,1", "ann,,2", "ann,b,3")
    report = InputReport()
    read_interactions([path], ReadOptions(max_bad_rows=0.5), item_ids=["a"], report=report)
    first, second, third = report.lines()
    assert "table separated by ',' with user 'user_id', item 'item_id', time 'timestamp': 2 events" in first
    assert "1 rows left out; the first:" in second
    assert "e.csv:3: item_id" in second
    assert third.startswith("1 of 2 events have items that the model lacks")


def test_ids_of_a_dictionary_in_any_order_are_numbered_by_appearance(tmp_path: Path) -> None:
    items = pa.DictionaryArray.from_arrays(pa.array([2, 0, 2]), pa.array(["z", "unused", "a"]))
    pyarrow.parquet.write_table(pa.table({"user_id": ["u", "u", "v"], "item_id": items}), tmp_path / "e.parquet")
    data = read_interactions([tmp_path / "e.parquet"])
    assert list(data.item_ids) == ["a", "z"]
    assert data.rows.tolist() == [1, 2, 1]


def test_types_of_a_named_column_are_read_and_impressions_left_out(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text(
        "user,item,time,what\na,1,1,view\na,2,2,addtocart\na,3,3,impression\nb,4,1,transaction\nb,1,2,\n"
    )
    names = {"addtocart": "cart", "transaction": "purchase"}
    data = read_interactions([tmp_path / "e.csv"], ReadOptions(type_column="what", type_names=tuple(names.items())))
    assert data.types is not None
    types = [list(data.types.rules)[code] for code in data.types.codes]
    assert types == ["view", "cart", "purchase", "view"]
    assert [data.item_ids[row - 1] for row in data.rows] == ["1", "2", "4", "1"]
    assert read_interactions([tmp_path / "e.csv"]).types is None
