"""Marks of versions on trial."""

from __future__ import annotations

from pathlib import Path

from model.bundle.trial import trial_file, versions_on_trial, without_trials, write_trial


def test_marked_versions_are_left_out(tmp_path: Path) -> None:
    assert without_trials(tmp_path, ["v1", "v2"]) == ["v1", "v2"]
    write_trial(tmp_path, "v2", "{}")
    assert versions_on_trial(tmp_path) == {"v2"}
    assert without_trials(tmp_path, ["v1", "v2"]) == ["v1"]


def test_only_version_counts_also_on_trial(tmp_path: Path) -> None:
    write_trial(tmp_path, "v1", "{}")
    assert without_trials(tmp_path, ["v1"]) == ["v1"]


def test_mark_is_replaced_whole(tmp_path: Path) -> None:
    write_trial(tmp_path, "v1", "first")
    write_trial(tmp_path, "v1", "second")
    assert trial_file(tmp_path, "v1").read_text() == "second"
    assert [path.name for path in tmp_path.iterdir()] == [".trial-v1"]
