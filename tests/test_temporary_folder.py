"""Temporary folders, and the refusal if there can be none."""

from __future__ import annotations

import tempfile

import pytest

from service.settings import SettingsError
from service.temporary_folder import shared_metrics_folder


def test_several_workers_without_a_temporary_folder_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str | None] = []

    def full(prefix: str, dir: str | None) -> None:
        tried.append(dir)
        raise FileNotFoundError("No usable temporary directory")

    monkeypatch.setattr(tempfile, "TemporaryDirectory", full)
    with pytest.raises(SettingsError, match="TMPDIR"), shared_metrics_folder(2):
        pass
    assert tried == [None, "/dev/shm"]
    with shared_metrics_folder(1):
        pass
