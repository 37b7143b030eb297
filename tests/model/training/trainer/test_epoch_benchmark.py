"""The epoch benchmark on a CPU: its entries, not its times."""

from __future__ import annotations

import json

import numpy as np
import pytest

from model.training.trainer import epoch_benchmark

TINY = "--events 3200 --step-events 3200 --items 20 --dim 4 --layers 1 --repeats 1 --device cpu"


def test_each_series_varies_one_quantity(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epoch_benchmark, "DATA_MULTIPLES", (1, 2, 4))
    monkeypatch.setattr(epoch_benchmark, "HISTORIES", (20, 2000))
    assert epoch_benchmark.main(TINY.split()) == 0
    lines = capsys.readouterr().out.splitlines()
    result = json.loads(lines[-1])
    assert len(lines) == 1 + sum(len(result[series]) for series in ("data", "histories", "windows"))
    assert [entry["steps"] for entry in result["data"]] == [1, 2, 4]
    assert [entry["window"] for entry in result["windows"]] == list(epoch_benchmark.WINDOWS)
    assert len({entry["events"] for series in ("histories", "windows") for entry in result[series]}) == 1
    short, long = (entry["history"] for entry in result["histories"])
    assert short < 50
    assert long > 500
    for series in ("data", "histories", "windows"):
        first, *others = result[series]
        assert first["relative"] == 1.0
        assert all(e["relative"] == pytest.approx(e["ns_per_event"] / first["ns_per_event"]) for e in others)


@pytest.mark.parametrize("history", [1, 20, 3000])
def test_random_histories_have_the_requested_mean_length(history: int) -> None:
    data = epoch_benchmark.random_histories(100_000, history, 50)
    assert data.offsets[-1] == len(data.rows) == 100_000
    assert data.lengths.min() >= 1
    assert data.lengths.mean() == pytest.approx(history, rel=0.25)
    assert set(np.unique(data.rows)) == set(range(1, 51))


def test_step_shorter_than_the_longest_window_is_rejected(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        epoch_benchmark.main(["--step-events", "3000"])
    assert "at least 3200" in capsys.readouterr().err
