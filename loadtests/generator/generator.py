"""The load generator: one thread, one epoll, requests made beforehand.

Open loop: requests are due at times that are fixed before the run, whatever the server does. A latency counts from
the time a request was due, not from the time it could be sent, so a stalled server is seen as long as its users would
see it (no "coordinated omission"). Closed loop: every connection sends its next request when it has its answer; the
rate is then the server's capacity, and a latency counts from the sending.
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

# Seconds that answers still under way at the end are waited for; later ones count as errors.
GRACE = 5.0

# Over all runs of this process: an event id that came again would be answered as a retry, and cost less.
_SERIALS = count(1)


def schedule(rate: float, seconds: float, *, poisson: bool, seed: int) -> NDArray[np.float64]:
    """Times, in seconds from the start, at which requests are due: independent users, or even steps."""
    if not poisson:
        return np.arange(int(rate * seconds)) / rate
    gaps = np.random.default_rng(seed).exponential(1 / rate, int(rate * seconds * 1.2) + 50)
    times = np.cumsum(gaps)
    return times[times < seconds]


def run_open(port: int, requests: Sequence[Request], due: NDArray[np.float64], connections: int) -> Samples:
    """Send a request at each of the times `due`, cycling through `requests`, over at most `connections` sockets."""
    run = _Run(port, requests)
    gc.disable()
    try:
        return run.open_loop(due, connections)
    finally:
        gc.enable()
        run.close()


def run_closed(port: int, requests: Sequence[Request], seconds: float, connections: int) -> Samples:
    """Keep `connections` requests under way for `seconds`."""
    run = _Run(port, requests)
    gc.disable()
    try:
        return run.closed_loop(seconds, connections)
    finally:
        gc.enable()
        run.close()


class _Run:
    """One run's sockets and samples."""

    def __init__(self, port: int, requests: Sequence[Request]) -> None:
        kinds = sorted({request.kind for request in requests})
        self._samples = Samples(kinds)
        self._number = {kind: number for number, kind in enumerate(kinds)}
        self._next: Iterator[Request] = cycle(requests)
        self._port = port
        self._poll = select.epoll()
        self._by_descriptor: dict[int, Connection] = {}
        self._idle: list[Connection] = []

    def open_loop(self, due: NDArray[np.float64], connections: int) -> Samples:
        self._connect(min(connections, 16))
        times: list[float] = due.tolist()
        waiting: deque[float] = deque()
        origin = perf_counter() + 0.05
        end = origin + (times[-1] if times else 0.0) + GRACE
        position = 0
        with Timer() as timer:
            self._poll.register(timer.fileno(), select.EPOLLIN)
            while position < len(times) or waiting or self._busy():
                now = perf_counter()
                if now > end:
                    break
                while position < len(times) and origin + times[position] <= now:
                    waiting.append(origin + times[position])
                    position += 1
                while waiting and self._free(connections):
                    self._send(self._idle.pop(), waiting.popleft())
                timer.arm(origin + times[position] if position < len(times) else end)
                self._receive(timer.fileno())
            self._poll.unregister(timer.fileno())
        for late in waiting:
            self._samples.add(late, perf_counter(), perf_counter(), UNANSWERED, 0)
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
        last = perf_counter() + GRACE
        while self._busy() and perf_counter() < last:
            self._receive(-1)
        return self._finish(origin, seconds)

    def close(self) -> None:
        for connection in self._by_descriptor.values():
            connection.close()
        self._poll.close()

    def _busy(self) -> bool:
        return len(self._idle) < len(self._by_descriptor)

    def _free(self, connections: int) -> bool:
        """Whether there is a socket to send on; opens one more if that is allowed."""
        if not self._idle and len(self._by_descriptor) < connections:
            self._connect(1)
        return bool(self._idle)

    def _connect(self, count: int) -> None:
        for _ in range(count):
            connection = Connection(self._port)
            self._by_descriptor[connection.socket.fileno()] = connection
            self._poll.register(connection.socket.fileno(), select.EPOLLIN)
            self._idle.append(connection)

    def _send(self, connection: Connection, due: float) -> None:
        request = next(self._next)
        connection.due, connection.sent, connection.kind = due, perf_counter(), self._number[request.kind]
        try:
            connection.start(request.numbered_with(next(_SERIALS)))
        except OSError:
            self._drop(connection)

    def _receive(self, timer: int) -> None:
        for descriptor, _ in self._poll.poll(0.25):
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
        """The request failed; so did its socket. Sockets that hang up while idle take no request with them."""
        descriptor = connection.socket.fileno()
        if connection in self._idle:
            self._idle.remove(connection)
        else:
            self._samples.add(connection.due, connection.sent, perf_counter(), BROKEN, connection.kind)
        self._poll.unregister(descriptor)
        del self._by_descriptor[descriptor]
        connection.close()

    def _finish(self, origin: float, seconds: float) -> Samples:
        idle = set(map(id, self._idle))
        for connection in self._by_descriptor.values():
            if id(connection) not in idle:
                self._samples.add(connection.due, connection.sent, perf_counter(), UNANSWERED, connection.kind)
        self._samples.origin, self._samples.seconds = origin, seconds
        return self._samples
