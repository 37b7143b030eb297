from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.app_harness import House

KEY = "a-key-of-enough-length"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path).start()
    yield house
    house.close()


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path, keys=("another-key-of-enough-length", KEY)).start()
    yield house
    house.close()
