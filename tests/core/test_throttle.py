"""Tests of the throttle for background work."""

from __future__ import annotations

import asyncio
import time

import pytest

from service.core.throttle import throttle


@pytest.mark.parametrize(("max_fraction", "pause_seconds"), [(0.5, 0.1), (0.25, 0.3)])
def test_pause_follows_from_the_time_worked_and_the_fraction(max_fraction: float, pause_seconds: float) -> None:
    async def scenario() -> None:
        began = time.monotonic()
        await throttle(began - 0.1, max_fraction)
        assert pause_seconds - 0.01 <= time.monotonic() - began < pause_seconds + 1.0

    asyncio.run(scenario())


def test_full_fraction_does_not_pause() -> None:
    async def scenario() -> None:
        began = time.monotonic()
        await throttle(began - 60.0, 1.0)
        assert time.monotonic() - began < 1.0

    asyncio.run(scenario())
