from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.app_harness import AppHarness
from tests.api.question_harness import open_shop

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


@pytest.fixture(params=[True, False], ids=["fast path", "routes"])
def shop(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[AppHarness]:
    harness = open_shop(tmp_path, fast_path=request.param)
    yield harness
    harness.close()
