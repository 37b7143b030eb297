"""Files of an export: parts, state, and foreign files."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet
import pytest

from ingest.errors import DataError
from model.training.data.event_log import LoggedEvent
from model.training.data.export import export_log
from model.training.data.export_files import ExportState, append_to_part, read_part_footer
from tests.model.training.data.export_checks import events
from tests.model.training.logs import append, exported
from tests.store.backends import Backend, SqliteBackend


def test_folder_with_the_export_of_another_log_is_rejected(backend: Backend, tmp_path: Path) -> None:
    append(backend, events(3))
    export_log(backend.url, tmp_path / "out")
    other = SqliteBackend(tmp_path / "other.db")
    append(other, events(3))
    with pytest.raises(DataError, match="holds the export of"):
        export_log(other.url, tmp_path / "out")


def test_files_that_are_not_an_export_are_rejected(backend: Backend, tmp_path: Path) -> None:
    append(backend, events(5))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "mine.parquet").write_bytes(b"x")
    with pytest.raises(DataError, match="holds other Parquet files"):
        export_log(backend.url, tmp_path / "mine")
    export_log(backend.url, tmp_path / "out")
    sorted((tmp_path / "out").glob("*.parquet"))[-1].write_bytes(b"PAR1 damaged")
    with pytest.raises(DataError, match="not a part of an export"):
        export_log(backend.url, tmp_path / "out")
    (tmp_path / "out" / "export.json").write_text("[]")
    with pytest.raises(DataError, match="not the state of an export"):
        export_log(backend.url, tmp_path / "out")


def test_part_grows_and_records_the_position_of_its_last_event(tmp_path: Path) -> None:
    path = tmp_path / "shard-00-000001.parquet"
    rows = [LoggedEvent("u", f"i{n}", float(n), n, f"seq-{n}", n + 0.5) for n in range(5)]
    append_to_part(path, rows[:2], (1,))
    assert read_part_footer(path) == (2, (1,))
    append_to_part(path, rows[2:], (4, 0))
    assert read_part_footer(path) == (5, (4, 0))
    assert exported(tmp_path) == [row[:5] for row in rows]
    assert pyarrow.parquet.read_table(path)["arrived"].to_pylist() == [0.5, 1.5, 2.5, 3.5, 4.5]


def test_state_keeps_the_deletions_of_each_shard(tmp_path: Path) -> None:
    state = ExportState.load(tmp_path, "a log")
    assert state.deletions(3) == 0
    state.save_deletions(3, 7)
    assert ExportState.load(tmp_path, "a log").deletions(3) == 7
