"""CPU time of several calls, measured in alternation.

Alternation spreads background load evenly over the calls.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

ROUNDS = 7

Call = Callable[[], object]
CpuTimes = dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Measured:
    """A call to measure, and the events or queries that it serves.

    `call` is None where a reference is not installed; it is then left out.
    """

    call: Call | None
    served: int


def measure_interleaved(calls: Mapping[str, Measured], min_seconds: float = 0.05) -> CpuTimes:
    """Measure each call ROUNDS times, in alternation.

    Args:
        calls: the calls by name.
        min_seconds: each measurement repeats its call for at least this CPU time.

    Returns:
        CPU microseconds per event or query, one value per round.
    """
    repeats: dict[str, int] = {}
    present: dict[str, tuple[Call, int]] = {}
    for name, measured in calls.items():
        if measured.call is None:
            continue
        measured.call()  # compile
        started = time.process_time()
        measured.call()
        repeats[name] = max(1, int(min_seconds / max(time.process_time() - started, 1e-6)))
        present[name] = measured.call, measured.served
    times: CpuTimes = {name: [] for name in present}
    for _ in range(ROUNDS):
        for name, (call, served) in present.items():
            started = time.process_time()
            for _ in range(repeats[name]):
                call()
            times[name].append((time.process_time() - started) / repeats[name] / served * 1e6)
    return times
