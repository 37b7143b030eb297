"""A small valid bundle, which each test damages in its own way."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.bundle.bundle import write_bundle
from tests.model.builders import bundle_of
from tests.model.bundle.damage import CONFIG


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "v1", bundle_of(CONFIG))
    return tmp_path / "v1"
