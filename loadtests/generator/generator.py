"""Load generator: one thread, one epoll, prepared requests (decision 0032).

Open loop: requests are due at times fixed before the run, whatever the server does. Latency counts from the due time,
so a stalled server delays every request that was due meanwhile (no "coordinated omission").

Closed loop: each connection sends its next request when it has its answer. The rate is the server's capacity, and
latency counts from the send.
"""

from __future__ import annotations

import gc
import select
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import count, cycle
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from loadtests.generator.http_client import Connection, Request
from loadtests.generator.samples import BROKEN, UNANSWERED, Samples
from loadtests.generator.timerfd import Timer

# Wait for answers still outstanding at the end of a run; later ones count as errors.
GRACE_SECONDS = 5.0
_FIRST_CONNECTIONS = 16
_POLL_TIMEOUT_SECONDS = 0.25

# Shared by all runs of this process: a repeated event id would be answered as a retry, which costs less.
_SERIALS = count(1)


def schedule(rate: float, seconds: float, *, poisson: bool, seed: int) -> NDArray[np.float64]:
    """Return due times of requests, in seconds from the start.

    Args:
        rate: requests per second.
        seconds: length of the run.
        poisson: independent arrivals (True) or equal gaps (False).
        seed: seed of the arrivals.
    """
    if not poisson:
        return np.arange(int(rate * seconds)) / rate
    gaps = np.random.default_rng(seed).exponential(1 / rate, int(rate * seconds * 1.2) + 50)
    times = np.cumsum(gaps)
    return times[times < seconds]


def run_open(
    port: int,
    requests: Sequence[Request],
    due: NDArray[np.float64],
    connections: int,
    grace_seconds: float = GRACE_SECONDS,
) -> Samples:
    """Send one request at each due time.

    Args:
        port: local port of the server.
        requests: prepared requests, used in a cycle.
        due: times from `schedule`.
        connections: maximum number of sockets.
        grace_seconds: wait for outstanding answers at the end.
    """
    run = _Run(port, requests, grace_seconds)
    gc.disable()  # a collection would delay requests that are due
    try:
        return run.open_loop(due, connections)
    finally:
        gc.enable()
        run.close()


def run_closed(port: int, requests: Sequence[Request], seconds: float, connections: int) -> Samples:
    """Keep one request in flight on each of `connections` sockets for `seconds`."""
    run = _Run(port, requests, GRACE_SECONDS)
    gc.disable()
    try:
        return run.closed_loop(seconds, connections)
    finally:
        gc.enable()
        run.close()


class _Run:
    """Sockets and samples of one run."""

    def __init__(self, port: int, requests: Sequence[Request], grace_seconds: float) -> None:
        kinds = sorted({request.kind for request in requests})
        self._samples = Samples(kinds)
        self._index_of_kind = {kind: index for index, kind in enumerate(kinds)}
        self._requests: Iterator[Request] = cycle(requests)
        self._port = port
        self._grace_seconds = grace_seconds
        self._poll = select.epoll()
        self._by_descriptor: dict[int, Connection] = {}
        self._idle: list[Connection] = []

    def open_loop(self, due: NDArray[np.float64], connections: int) -> Samples:
        self._connect(min(connections, _FIRST_CONNECTIONS))
        times: list[float] = due.tolist()
        waiting: deque[float] = deque()
        origin = perf_counter() + 0.05
        end = origin + (times[-1] if times else 0.0) + self._grace_seconds
        position = 0
        with Timer() as timer:
            self._poll.register(timer.fileno(), select.EPOLLIN)
            while position < len(times) or waiting or self._has_requests_in_flight():
                now = perf_counter()
                if now > end:
                    break
                while position < len(times) and origin + times[position] <= now:
                    waiting.append(origin + times[position])
                    position += 1
                while waiting and self._has_idle_connection(connections):
                    self._send(self._idle.pop(), waiting.popleft())
                timer.arm(origin + times[position] if position < len(times) else end)
                self._receive(timer.fileno())
            self._poll.unregister(timer.fileno())
        for unsent in waiting:
            self._samples.add(unsent, perf_counter(), perf_counter(), UNANSWERED, 0)
        return self._finish(origin, times[-1] if times else 0.0)

    def closed_loop(self, seconds: float, connections: int) -> Samples:
        self._connect(connections)
        origin = perf_counter()
        end = origin + seconds
        while True:
            now = perf_counter()
            if now > end:
                break
            while self._idle:
                self._send(self._idle.pop(), perf_counter())
            if len(self._by_descriptor) < connections:
                self._connect(connections - len(self._by_descriptor))
            self._receive(-1)
        deadline = perf_counter() + self._grace_seconds
        while self._has_requests_in_flight() and perf_counter() < deadline:
            self._receive(-1)
        return self._finish(origin, seconds)

    def close(self) -> None:
        for connection in self._by_descriptor.values():
            connection.close()
        self._poll.close()

    def _has_requests_in_flight(self) -> bool:
        return len(self._idle) < len(self._by_descriptor)

    def _has_idle_connection(self, connections: int) -> bool:
        """Return True if a socket is free, opening one if allowed."""
        if not self._idle and len(self._by_descriptor) < connections:
            self._connect(1)
        return bool(self._idle)

    def _connect(self, number: int) -> None:
        for _ in range(number):
            connection = Connection(self._port)
            self._by_descriptor[connection.socket.fileno()] = connection
            self._poll.register(connection.socket.fileno(), select.EPOLLIN)
            self._idle.append(connection)

    def _send(self, connection: Connection, due: float) -> None:
        request = next(self._requests)
        connection.due, connection.sent, connection.kind = due, perf_counter(), self._index_of_kind[request.kind]
        try:
            connection.send(request.with_serial(next(_SERIALS)))
        except OSError:
            self._drop(connection)

    def _receive(self, timer: int) -> None:
        for descriptor, _ in self._poll.poll(_POLL_TIMEOUT_SECONDS):
            if descriptor == timer:
                continue
            connection = self._by_descriptor[descriptor]
            try:
                if connection.receive():
                    self._samples.add(
                        connection.due, connection.sent, perf_counter(), connection.status, connection.kind
                    )
                    self._idle.append(connection)
            except OSError:
                self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        """Close a broken socket and count its request in flight as BROKEN."""
        descriptor = connection.socket.fileno()
        if connection in self._idle:
            self._idle.remove(connection)
        else:
            self._samples.add(connection.due, connection.sent, perf_counter(), BROKEN, connection.kind)
        self._poll.unregister(descriptor)
        del self._by_descriptor[descriptor]
        connection.close()

    def _finish(self, origin: float, seconds: float) -> Samples:
        """Count the requests still in flight as UNANSWERED."""
        idle = set(map(id, self._idle))
        for connection in self._by_descriptor.values():
            if id(connection) not in idle:
                self._samples.add(connection.due, connection.sent, perf_counter(), UNANSWERED, connection.kind)
        self._samples.origin, self._samples.seconds = origin, seconds
        return self._samples
