"""Arrays and columns in temporary files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ingest.errors import DataError
from model.training.data import disk_arrays
from model.training.data.disk_arrays import DiskColumn, allocate
from model.training.data.interactions import read_interactions


def test_column_returns_its_values_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_arrays, "CHUNK_EVENTS", 4)
    column = DiskColumn(np.dtype(np.int32))
    assert column.is_empty
    column.append(np.arange(3))
    column.append(np.arange(3, 10))
    chunks = list(column.chunks())
    assert not column.is_empty
    assert [len(chunk) for chunk in chunks] == [4, 4, 2]
    assert np.concatenate(chunks).tolist() == list(range(10))


@pytest.mark.parametrize("max_bytes_in_memory", [0, 1 << 20])
def test_allocated_array_is_zero_and_writable(monkeypatch: pytest.MonkeyPatch, max_bytes_in_memory: int) -> None:
    monkeypatch.setattr(disk_arrays, "_MAX_BYTES_IN_MEMORY", max_bytes_in_memory)
    array = allocate(np.dtype(np.float64), 1000)
    assert not array.any()
    array[:] = 7.0
    assert array.sum() == 7000.0


def test_full_disk_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("model.training.data.disk_arrays._MAX_BYTES_IN_MEMORY", 1)
    monkeypatch.setattr("os.posix_fallocate", full)
    (tmp_path / "e.txt").write_text("a 1 2\n")
    with pytest.raises(DataError, match="set TMPDIR"):
        read_interactions([tmp_path / "e.txt"])
