"""The load tests run on Linux alone."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture(autouse=True)
def _linux() -> None:
    if sys.platform != "linux":
        pytest.skip("the load generator needs epoll and timerfd, which only Linux has")
