"""The file between the probed service and its reader."""

from __future__ import annotations

from pathlib import Path

from loadtests.environment.probed_service import LoopProbe, LoopTime


def test_longest_times_are_kept_until_reset(tmp_path: Path) -> None:
    service, reader = LoopProbe(tmp_path / "probe"), LoopProbe(tmp_path / "probe")
    service.record(0.002, 0.003, lambda: "first")
    service.record(0.001, 0.009, lambda: "second")
    assert reader.read() == LoopTime(2.0, 9.0, "first")
    service.record(0.004, 0.001, lambda: "third")
    assert reader.read() == LoopTime(4.0, 9.0, "third")
    reader.reset()
    assert service.read() == LoopTime(0.0, 0.0, "")
