"""Benchmark of the start on a small catalogue."""

from __future__ import annotations

import json
import sys

import pytest

from loadtests.micro.catalogue_start import __main__ as catalogue_start


def test_both_kinds_of_start_are_measured(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["catalogue_start", "--items", "3000"])
    catalogue_start.main()
    found = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert found["items"] == 3000
    assert found["first_start_us_per_item"] > 0
    assert found["snapshot_bytes_per_item"] > found["columns_bytes_per_item"] / 2
    assert [worker["seconds"] > 0 for worker in found["starts_from_snapshot"]] == [True, True]
