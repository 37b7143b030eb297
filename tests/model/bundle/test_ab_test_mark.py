"""Marks of versions that only an A/B test serves."""

from __future__ import annotations

from pathlib import Path

from model.bundle.ab_test_mark import mark_path, marked_versions, without_marked, write_mark


def test_marked_versions_are_left_out(tmp_path: Path) -> None:
    assert without_marked(tmp_path, ["v1", "v2"]) == ["v1", "v2"]
    write_mark(tmp_path, "v2", "{}")
    assert marked_versions(tmp_path) == {"v2"}
    assert without_marked(tmp_path, ["v1", "v2"]) == ["v1"]


def test_only_version_counts_although_marked(tmp_path: Path) -> None:
    write_mark(tmp_path, "v1", "{}")
    assert without_marked(tmp_path, ["v1"]) == ["v1"]


def test_mark_is_replaced_whole(tmp_path: Path) -> None:
    write_mark(tmp_path, "v1", "first")
    write_mark(tmp_path, "v1", "second")
    assert mark_path(tmp_path, "v1").read_text() == "second"
    assert [path.name for path in tmp_path.iterdir()] == [".ab-test-v1"]
