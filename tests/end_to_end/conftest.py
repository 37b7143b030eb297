from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import empty_log


@pytest.fixture(params=["sqlite", "redis"])
def state_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with empty_log(request.param, tmp_path) as url:
        yield url
