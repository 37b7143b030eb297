"""Load generators in several processes, for servers that one process cannot load."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from functools import partial

from loadtests.generator.generator import run_closed, run_open, schedule
from loadtests.generator.http_client import Request
from loadtests.generator.samples import Samples

# Forked, so that prepared requests need no copy.
_PROCESSES = multiprocessing.get_context("fork")


def run_closed_in_parallel(
    port: int, requests: Sequence[Sequence[Request]], seconds: float, connections: int
) -> Samples:
    """Keep `connections` requests in flight.

    There is one process for each list of requests.
    """
    each = max(1, connections // len(requests))
    return _run([partial(run_closed, port, own, seconds, each) for own in requests])


def run_open_in_parallel(
    port: int, requests: Sequence[Sequence[Request]], rate: float, seconds: float, connections: int, seed: int
) -> Samples:
    """Send `rate` independent requests per second.

    There is one process for each list of requests.
    """
    each = max(1, connections // len(requests))
    runs = []
    for number, own in enumerate(requests):
        due = schedule(rate / len(requests), seconds, poisson=True, seed=seed + number)
        runs.append(partial(run_open, port, own, due, each))
    return _run(runs)


def _run(runs: Sequence[Callable[[], Samples]]) -> Samples:
    with _PROCESSES.Pool(len(runs)) as pool:
        return Samples.merged([pending.get() for pending in [pool.apply_async(run) for run in runs]])
