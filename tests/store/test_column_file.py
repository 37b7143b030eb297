"""The snapshot file is complete, or it is not used."""

from __future__ import annotations

import logging
import mmap
import os
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from service.core.column_snapshots import SnapshotWriter
from service.store import column_file
from service.store.column_file import MAX_AGE_SECONDS, ColumnFile
from service.store.factory import open_column_file

ARRAYS = {
    "shown": np.arange(128, dtype=np.int8),
    "shards": np.full(64, 255, np.uint8),
    "0/values": np.arange(-64, 64, dtype=np.int32),
    "revisions": np.arange(1 << 18, dtype=np.int64),
    "price": np.linspace(0, 1, 64),
    "empty": np.zeros(0, np.int64),
}
DESCRIPTION = {"rows": 5, "spans": [[1, "a", 2, "b"]]}


@pytest.fixture
def file(tmp_path: Path) -> ColumnFile:
    return ColumnFile(tmp_path / "columns")


def begin(file: ColumnFile) -> SnapshotWriter:
    writer = file.begin()
    assert writer is not None
    return writer


def write(file: ColumnFile, description: dict[str, object] = DESCRIPTION) -> int:
    writer = begin(file)
    for name, array in ARRAYS.items():
        writer.add(name, array.dtype, iter(np.array_split(array, 3)))
    size = writer.finish(description)
    writer.close()
    return size


def test_arrays_are_read_as_they_were_written(file: ColumnFile) -> None:
    assert file.load() is None and file.describe() is None
    assert write(file) == file.path.stat().st_size
    stored = file.load()
    assert stored is not None
    assert stored.description == DESCRIPTION
    assert stored.arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert stored.arrays[name].dtype == array.dtype
        assert np.array_equal(stored.arrays[name], array)
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in file.path.parent.iterdir()) == ["columns", "columns.lock"]


def test_any_reader_of_safetensors_opens_the_file(file: ColumnFile) -> None:
    write(file)
    found = safetensors.numpy.load_file(file.path)
    assert all(np.array_equal(found[name], array) for name, array in ARRAYS.items())


def test_arrays_are_pages_of_the_file_and_writes_stay_in_the_process(file: ColumnFile) -> None:
    write(file)
    first, second = file.load(), file.load()
    assert first is not None and second is not None
    base = first.arrays["revisions"].base
    while not isinstance(base, mmap.mmap | memoryview):
        base = base.base  # type: ignore[union-attr]
    first.arrays["revisions"][7] = -1
    assert second.arrays["revisions"][7] == 7
    third = file.load()
    assert third is not None and third.arrays["revisions"][7] == 7


def test_file_that_is_mapped_may_be_replaced(file: ColumnFile) -> None:
    write(file)
    old = file.load()
    write(file, {"other": 1})
    assert old is not None and np.array_equal(old.arrays["revisions"], ARRAYS["revisions"])
    new = file.describe()
    assert new is not None and new[0] == {"other": 1}


@pytest.mark.parametrize("position", [0, 7, 8, 60, 300, 256 * 1024 + 3, -1])
def test_damaged_file_is_refused(file: ColumnFile, position: int, caplog: pytest.LogCaptureFixture) -> None:
    size = write(file)
    content = bytearray(file.path.read_bytes())
    content[position % size] ^= 1
    file.path.write_bytes(content)
    with caplog.at_level(logging.INFO):
        assert file.load() is None
    assert "snapshot" in caplog.text


@pytest.mark.parametrize("size", [0, 5, 1000, 256 * 1024, 256 * 1024 + 100])
def test_file_that_is_cut_off_is_refused(file: ColumnFile, size: int) -> None:
    write(file)
    with file.path.open("r+b") as opened:
        opened.truncate(size)
    assert file.load() is None


def test_header_of_other_contents_is_refused(file: ColumnFile) -> None:
    write(file)
    content = file.path.read_bytes()
    for before, after in ((b'"a\\"', b'"z\\"'), (b"revisions", b"Revisions"), (b"columns 1", b"columns 2")):
        assert before in content
        file.path.write_bytes(content.replace(before, after, 1))
        assert file.load() is None and file.describe() is None


def test_old_file_is_ignored(file: ColumnFile) -> None:
    write(file)
    hour_before = time.time() - MAX_AGE_SECONDS + 3_600
    os.utime(file.path, (hour_before, hour_before))
    described = file.describe()
    assert described is not None and abs(described[1] - MAX_AGE_SECONDS + 3_600) < 60
    assert file.load() is not None
    os.utime(file.path, (hour_before - 3_700, hour_before - 3_700))
    assert file.load() is None and file.describe() is None


def test_file_that_others_may_write_is_ignored(file: ColumnFile) -> None:
    write(file)
    file.path.chmod(0o620)
    assert file.load() is None


def test_one_process_writes_at_a_time(file: ColumnFile) -> None:
    writer = begin(file)
    assert file.begin() is None
    writer.close()
    assert not file.path.exists()
    write(file)
    assert file.load() is not None


def test_unfinished_file_of_a_killed_process_is_replaced(file: ColumnFile) -> None:
    (file.path.parent / "columns.new").write_bytes(b"half")
    write(file)
    assert file.load() is not None


def test_snapshot_that_is_dropped_leaves_the_one_before(file: ColumnFile) -> None:
    write(file)
    writer = begin(file)
    writer.add("shown", ARRAYS["shown"].dtype, iter([ARRAYS["shown"]]))
    writer.close()
    stored = file.load()
    assert stored is not None and stored.description == DESCRIPTION


def test_header_without_room_is_refused(file: ColumnFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(column_file, "_HEADER_BYTES", 512)
    writer = begin(file)
    for number in range(10):
        writer.add(f"{number}", np.dtype(np.int8), iter([np.zeros(64, np.int8)]))
    with pytest.raises(OSError, match="too many columns"):
        writer.finish({})
    writer.close()


def test_path_of_the_file_follows_from_the_store(tmp_path: Path) -> None:
    beside = open_column_file(f"sqlite:///{tmp_path}/log.db", None)
    assert beside is not None and beside.path == tmp_path / "log.db-catalogue"
    assert open_column_file("redis://:secret@host/0", None) is None
    paths = []
    for url in ("redis://:secret@host/0", "redis://:other@host/0", "redis://host/1", f"sqlite:///{tmp_path}/log.db"):
        file = open_column_file(url, tmp_path)
        assert file is not None and file.path.parent == tmp_path
        paths.append(file.path)
    assert paths[0] == paths[1] and len(set(paths)) == 3
