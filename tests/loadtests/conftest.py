from __future__ import annotations

import sys

import pytest


@pytest.fixture(autouse=True)
def _on_linux() -> None:
    if sys.platform != "linux":
        pytest.skip("the load tests read /proc and wait on a timerfd, which only Linux has")
