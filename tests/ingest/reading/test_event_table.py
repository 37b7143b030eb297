"""Odd files are read right, or refused with line and remedy."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from ingest.errors import DataError
from ingest.read_options import ReadOptions
from ingest.reading.event_cleaner import ReadSummary
from ingest.reading.event_table import read_events
from tests.ingest.reading.combined_files import combined_files
from tests.ingest.reading.made_tables import ROWS, Case, Row, table
from tests.ingest.reading.more_refused_files import MORE_REFUSED
from tests.ingest.reading.odd_files import READ
from tests.ingest.reading.odd_text_files import READ_TEXT
from tests.ingest.reading.odd_typed_files import READ_TYPED
from tests.ingest.reading.refused_files import REFUSED

ALL_READ = READ | READ_TEXT | READ_TYPED
ALL_REFUSED = REFUSED | MORE_REFUSED

Event = tuple[str, str, int | None]


def read(path: Path, **options: object) -> tuple[list[Event], ReadSummary]:
    summary = ReadSummary(str(path))
    events: list[Event] = []
    for chunk in read_events(path, ReadOptions(**options), summary):  # type: ignore[arg-type]
        times = [None] * len(chunk.users) if chunk.nanoseconds is None else chunk.nanoseconds.tolist()
        events += zip(chunk.users.to_pylist(), chunk.items.to_pylist(), times, strict=True)
    return events, summary


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_types_and_values_are_read_from_every_form(form: str, tmp_path: Path) -> None:
    columns = {"user": ["u", "u", "u"], "item": ["a", "b", "c"], "time": [1, 2, 3]}
    table = pa.table({**columns, "what": ["view", "cart", None], "worth": [None, 2.5, 3.0]})
    path = tmp_path / f"events.{form}"
    if form == "csv":
        pyarrow.csv.write_csv(table, path)
    elif form == "json":
        path.write_text("\n".join(map(json.dumps, table.to_pylist())))
    else:
        pyarrow.parquet.write_table(table, path)
    summary = ReadSummary(str(path))
    [chunk] = read_events(path, ReadOptions(type_column="what", value_column="worth"), summary)
    assert chunk.types is not None and chunk.values is not None
    assert (chunk.types.to_pylist(), chunk.values.to_pylist()) == ([None, "cart", None], [None, 2.5, 3.0])
    assert "type 'what', value 'worth'" in summary.form
    [plain] = read_events(path, ReadOptions(), ReadSummary(str(path)))
    assert plain.types is None and plain.values is None


def written(folder: Path, case: Case) -> Path:
    path = folder / case.name
    path.write_bytes(case.data)
    return path


@pytest.mark.parametrize("name", ALL_READ)
def test_odd_file_is_read_right(name: str, tmp_path: Path) -> None:
    case = ALL_READ[name]
    assert case.rows is not None
    events, summary = read(written(tmp_path, case), **case.options)
    assert events == [(user, item, time * 10**9) for user, item, time in case.rows]
    assert summary.events == len(events)


@pytest.mark.parametrize("name", ALL_REFUSED)
def test_odd_file_is_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    case = ALL_REFUSED[name]
    with pytest.raises(DataError) as refusal:
        read(written(tmp_path, case), **case.options)
    message = str(refusal.value)
    assert "\n" not in message
    assert str(tmp_path) in message or "--encoding" in message
    for part in case.says:
        assert part in message


def test_combined_files_are_read_right(tmp_path: Path) -> None:
    for name, case in combined_files(150):
        assert case.rows is not None
        events, _ = read(written(tmp_path, case), **case.options)
        assert events == [(user, item, time * 10**9) for user, item, time in case.rows], name


def test_chunks_do_not_change_what_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events.csv"
    path.write_text(table(rows=ROWS * 40))
    whole, _ = read(path)
    monkeypatch.setattr("ingest.reading.csv_table.ROWS", 2048)
    assert read(path)[0] == whole


def test_line_of_a_bad_row_counts_line_breaks_in_fields(tmp_path: Path) -> None:
    rows = [f'u,i,"a\nb",{n}' for n in range(10)] + ["u,i,t,never"]
    (tmp_path / "events.csv").write_text("\n".join(["user_id,item_id,title,timestamp", *rows]))
    with pytest.raises(DataError, match=r"events\.csv:22: timestamp 'never'"):
        read(tmp_path / "events.csv")


def test_nanoseconds_of_parquet_keep_their_order(tmp_path: Path) -> None:
    times = pa.array([2, 1], pa.timestamp("ns"))
    pyarrow.parquet.write_table(pa.table({"user": ["u", "u"], "item": ["a", "b"], "time": times}), tmp_path / "e")
    assert [time for *_, time in read(tmp_path / "e")[0]] == [2, 1]


def test_histories_are_read_in_order(tmp_path: Path) -> None:
    (tmp_path / "histories.txt").write_text("ann 1 2 3\n\nbob 2\neve\n")
    events, summary = read(tmp_path / "histories.txt")
    assert events == [("ann", "1", None), ("ann", "2", None), ("ann", "3", None), ("bob", "2", None)]
    assert "histories" in summary.form


def test_histories_of_one_length_are_not_taken_for_a_table(tmp_path: Path) -> None:
    (tmp_path / "histories.txt").write_text("ann 1 2 3 4\nbob 2 3 1 4\n")
    assert len(read(tmp_path / "histories.txt")[0]) == 8


def test_histories_option_overrides_a_suspicion(tmp_path: Path) -> None:
    (tmp_path / "histories.txt").write_text("1 2 978300760\n2 3 978300761\n")
    assert len(read(tmp_path / "histories.txt", histories=True)[0]) == 4


def test_file_name_that_is_no_text_is_shown(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.csv"))
    path.write_bytes(b"nothing\n")
    with pytest.raises(DataError, match=r"caf\?\.csv: the first line is 'nothing'") as refusal:
        read(path)
    str(refusal.value).encode("utf-8")


def test_summary_names_form_columns_and_what_was_left_out(tmp_path: Path) -> None:
    (tmp_path / "e").write_text(table(rows=[Row("1.0", "2.0", 1)] * 40) + "x\n")
    _, summary = read(tmp_path / "e", max_bad_rows=0.1)
    lines = "\n".join(summary.lines())
    for part in ("separated by ','", "'user_id'", "40 events", "1 rows left out", ":42", "floats"):
        assert part in lines


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read(tmp_path / "absent.csv")
