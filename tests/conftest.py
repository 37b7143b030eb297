"""Controlled environment, set before any test imports numpy or torch."""

from __future__ import annotations

import os

import pytest

from tests.environment import controlled

_wanted = controlled(os.environ)
for _name in set(os.environ) - set(_wanted):
    del os.environ[_name]
os.environ.update(_wanted)


@pytest.fixture
def anyio_backend() -> str:
    """Return the event loop of all asynchronous tests."""
    return "asyncio"
