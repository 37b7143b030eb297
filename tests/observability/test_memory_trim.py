"""Freed memory goes back to the system after growth, in idle moments."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.core.recommending.heavy_work import LightRequests
from service.observability.memory_trim import GROWTH, URGENT_GROWTH, MemoryTrim, trim_function

ROOT = Path(__file__).parents[2]
_TRIM = """
import asyncio
from service.core.recommending.heavy_work import LightRequests
from service.observability.memory_trim import MemoryTrim, resident_bytes
sizes = iter([1000, 2000, 2000])
job = MemoryTrim(resident=lambda: next(sizes), light_requests=LightRequests())
pieces = [b"x" * (50_000 + 64 * n) for n in range(1000)]
full, kept = resident_bytes(), pieces[::100]
del pieces
asyncio.run(job._check())
asyncio.run(job._check())
print(full, resident_bytes(), len(kept))
"""


class Memory:
    """Memory that a trim returns to `trimmed`."""

    def __init__(self, *sizes: float) -> None:
        self._sizes: Iterator[float] = iter(sizes)
        self.trims = 0
        self.now = 0

    def resident(self) -> int:
        self.now = round(next(self._sizes, self.now))
        return self.now

    def trim(self, padding: int) -> int:
        assert padding == 0
        self.trims += 1
        return 1


def check(memory: Memory, *, light: bool, times: int) -> None:
    requests = LightRequests(lambda: 0.0)
    requests.newest = 0.0 if light else -math.inf
    job = MemoryTrim(memory.trim, memory.resident, requests)

    async def run() -> None:
        for _ in range(times):
            await job._check()

    asyncio.run(run())


@pytest.mark.parametrize(("light", "growth"), [(False, GROWTH), (True, URGENT_GROWTH)])
def test_growth_is_trimmed_and_beside_light_requests_only_a_large_one(light: bool, growth: float) -> None:
    memory = Memory(1000, 1000 * growth - 1)
    check(memory, light=light, times=2)
    assert memory.trims == 0
    memory = Memory(1000, 1000 * growth + 1, 1000)
    check(memory, light=light, times=2)
    assert memory.trims == 1


def test_memory_that_is_in_use_is_not_trimmed_again_and_again() -> None:
    memory = Memory(1000, 2000, 2000, 2000, 2001, 1999)
    check(memory, light=False, times=5)
    assert memory.trims == 1


@pytest.mark.skipif(trim_function() is None, reason="needs the GNU C library")
def test_trim_returns_freed_memory() -> None:
    # In a process of its own: the memory of this one may have room for all pieces.
    found = subprocess.run([sys.executable, "-c", _TRIM], capture_output=True, text=True, check=True, cwd=ROOT)
    full, after, kept = map(int, found.stdout.split())
    assert after < full - (60 << 20)
    assert kept == 10


def test_job_runs_until_it_is_closed() -> None:
    async def run() -> None:
        checked = asyncio.Event()
        memory = Memory(1000)

        def resident() -> int:
            checked.set()
            return memory.resident()

        job = MemoryTrim(memory.trim, resident, LightRequests())
        job.start()
        await checked.wait()
        await job.close()
        assert memory.trims == 0

    asyncio.run(run())
