"""A start that fails leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.core.errors import StoreUnavailable
from service.core.ports import ModelVersion
from service.settings import load_settings
from service.start.preflight import StartupError, check_start


class FakeBundles:
    """A registry with one version that loads at once."""

    async def published(self) -> list[ModelVersion]:
        return [ModelVersion("v1", ("", "v1"))]

    async def load(self, version: str) -> None:
        """Load nothing."""


@pytest.mark.parametrize("exists", [False, True])
def test_only_a_new_event_log_is_removed_if_its_first_record_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exists: bool
) -> None:
    async def full(*_: object) -> None:
        raise StoreUnavailable("the event log does not answer", for_log="the disk is full")

    monkeypatch.setenv("RECBLR_STATE_URL", f"sqlite:///{tmp_path}/events.db")
    monkeypatch.setattr("service.start.resources.model_registry", lambda _, indexed: FakeBundles())
    if exists:
        check_start(load_settings())
    monkeypatch.setattr("service.core.rollout.startup.choose_startup_version", full)
    with pytest.raises(StartupError, match="the disk is full"):
        check_start(load_settings())
    assert [path.name for path in tmp_path.iterdir()] == ["events.db"] * exists
