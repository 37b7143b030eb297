from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.app_harness import AppHarness

KEY = "a-key-of-enough-length"


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[AppHarness]:
    harness = AppHarness(tmp_path).start()
    yield harness
    harness.close()


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[AppHarness]:
    harness = AppHarness(tmp_path, keys=("another-key-of-enough-length", KEY)).start()
    yield harness
    harness.close()
