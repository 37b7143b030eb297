"""Calls compared by their CPU time, in turns, so that whatever else the machine does meets all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

RUNS = 7

Call = Callable[[], object]
Rounds = dict[str, list[float]]


def in_turns(calls: Mapping[str, tuple[Call | None, int]], at_least: float = 0.05) -> Rounds:
    """CPU microseconds of each call for each of the users or queries it serves: RUNS rounds, the calls in turns.

    A measurement is of as many calls as `at_least` seconds hold. What has no call (no torch, no index) is left out.
    """
    present = {name: (call, served) for name, (call, served) in calls.items() if call is not None}
    repeats, rounds = {}, Rounds()
    for name, (call, _) in present.items():
        call()
        began = time.process_time()
        call()
        repeats[name] = max(1, int(at_least / max(time.process_time() - began, 1e-6)))
        rounds[name] = []
    for _ in range(RUNS):
        for name, (call, served) in present.items():
            began = time.process_time()
            for _ in range(repeats[name]):
                call()
            rounds[name].append((time.process_time() - began) / repeats[name] / served * 1e6)
    return rounds
