"""Benchmark of filtered search on a small catalogue."""

from __future__ import annotations

import pytest

from loadtests.micro.filtered_search import __main__ as filtered_search


def test_all_kinds_and_selectivities_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filtered_search, "SELECTIVITIES", (0.5, 0.001))
    summary = filtered_search.measure(3000)["summary"]
    assert len(summary) == 6
    assert all(row["recall@10"] == 1 and row["forbidden"] == 0 for row in summary.values())
