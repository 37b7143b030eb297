from __future__ import annotations

import pytest


@pytest.fixture(params=[7, 100, 1 << 18], ids=["tiny chunks", "chunks", "one chunk"])
def chunk_size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read small files in one chunk and in many."""
    monkeypatch.setattr("model.training.data.export_reader._CHUNK_ROWS", request.param)
    monkeypatch.setattr("ingest.reading.csv_table.ROWS", request.param)
    monkeypatch.setattr("ingest.reading.event_table.ROWS", request.param)
    monkeypatch.setattr("ingest.reading.parquet_table._ROWS", request.param)
    monkeypatch.setattr("model.training.data.disk_arrays.CHUNK_EVENTS", request.param)
    monkeypatch.setattr("model.training.data.disk_arrays._MAX_BYTES_IN_MEMORY", request.param)
    monkeypatch.setattr("model.training.data.interactions._COUNTED_EVENTS", request.param)
