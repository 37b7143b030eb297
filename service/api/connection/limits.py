"""Number of connections, and the timer that closes slow ones."""

from __future__ import annotations

import asyncio
import logging
import resource
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import nsmallest
from itertools import islice
from typing import Protocol
from weakref import WeakKeyDictionary

from service.api.connection.token_buckets import TokenBuckets
from service.api.connection.work_slots import WorkSlots
from service.core.log_throttle import ThrottledLogger

REFUSALS_PER_SECOND = 50  # of one address, before its next requests wait for slots
SWEEP_SECONDS = 1.0
MAX_CONNECTIONS = 16_384
MAX_BACKLOG = 2048
MAX_WITHOUT_ROOM = 16  # refused connections that stay for a moment, of the descriptors reserved
# Files, the store's connections, the stream, a reload.
RESERVED_DESCRIPTORS = 96
_EVICTED_FRACTION, _MAX_EVICTED = 16, 256
_SWEPT_AT_ONCE = 256  # connections; if all of them are closed, the event loop is held for some milliseconds
_SWEEP_PAUSE_SECONDS = 0.001

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Longest times of a connection, in seconds."""

    head: float = 10.0  # from the first byte of a request, or from the connection's start
    body: float = 30.0  # and as long again as the body needs at `min_bytes_per_second`
    min_bytes_per_second: int = 16 * 1024
    linger: float = 10.0  # after the answer, for a client that is still sending


class Connection(Protocol):
    """Connection as the limits know it."""

    def check_deadline(self, now: float) -> None:
        """Close the connection if its time is over."""

    def eviction_order(self, now: float) -> tuple[int, float] | None:
        """Return a key, smallest first; None for a connection that must stay."""

    def evict(self) -> None:
        """Close the connection at once."""


def listen_backlog(descriptors: int | None = None) -> int:
    """Return how many connections may wait to be accepted.

    The event loop accepts the whole queue at once, so that it must fit into the descriptors.
    """
    soft = _descriptors() if descriptors is None else descriptors
    return max(16, min(MAX_BACKLOG, soft // 4))


def max_connections(descriptors: int | None = None) -> int:
    """Return how many connections the limit of open files allows."""
    soft = _descriptors() if descriptors is None else descriptors
    return max(8, min(MAX_CONNECTIONS, soft - listen_backlog(soft) - RESERVED_DESCRIPTORS))


def _descriptors() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 20 if soft == resource.RLIM_INFINITY else soft


class ConnectionLimits:
    """Limits of the connections of one server, and what they share."""

    def __init__(self, loop: asyncio.AbstractEventLoop, connections: set[Connection]) -> None:
        self.slots = WorkSlots(loop)
        self.refusals = TokenBuckets(REFUSALS_PER_SECOND)
        self._throttled_log = ThrottledLogger(_log)
        self._loop = loop
        self._connections = connections
        self._max = max_connections()
        self._sweeping = False
        self._without_room: set[Connection] = set()

    def admit(self, newest: Connection) -> bool:
        """Make room for the newest connection; return False if there is none.

        Connections that keep the server waiting are closed first, then those that have not been used, then idle ones.
        Requests in work are never closed.
        """
        if not self._sweeping:
            self._sweeping = True
            self._loop.call_later(SWEEP_SECONDS, self._sweep)
        if len(self._connections) <= self._max:
            return True
        now = self._loop.time()
        others = [each for each in self._connections if each is not newest]
        keys = [(key, id(each), each) for each in others if (key := each.eviction_order(now)) is not None]
        # Several at once: a search for each new connection would cost more than the connection.
        evicted = nsmallest(max(1, min(_MAX_EVICTED, self._max // _EVICTED_FRACTION)), keys)
        for _, _, each in evicted:
            self._connections.discard(each)
            each.evict()
        if not evicted:
            self._throttled_log.warn("too_many_connections", "connection refused", limit=str(self._max))
        return bool(evicted)

    def may_wait(self, refused: Connection) -> bool:
        """Return whether a refused connection may stay until its head arrives.

        It is closed at the next sweep otherwise.
        """
        self._without_room &= self._connections
        if len(self._without_room) >= MAX_WITHOUT_ROOM:
            return False
        self._without_room.add(refused)
        return True

    def count_closed(self, phase: str) -> None:
        """Log that a slow connection was closed, at most once a second."""
        self._throttled_log.warn(
            "slow_connection", "slow connection closed", phase=phase, open=self._open(), limit=str(self._max)
        )

    def count_dropped(self) -> None:
        """Log, at most once a second, that too much work waited."""
        self._throttled_log.warn(
            "too_much_work", "connection closed; too many refused or pipelined requests wait", open=self._open()
        )

    def _open(self) -> str:
        return str(len(self._connections))

    def _sweep(self) -> None:
        self._sweep_some(iter(list(self._connections)))

    def _sweep_some(self, connections: Iterator[Connection]) -> None:
        """Close slow connections, some at a time."""
        now, checked = self._loop.time(), 0
        for each in islice(connections, _SWEPT_AT_ONCE):
            checked += 1
            try:
                if each in self._connections:
                    each.check_deadline(now)
            except Exception:  # the timer must go on: without it no slow connection is ever closed
                _log.exception("cannot close a slow connection")
        if checked == _SWEPT_AT_ONCE:
            self._loop.call_later(_SWEEP_PAUSE_SECONDS, self._sweep_some, connections)
            return
        self._sweeping = bool(self._connections)
        if self._sweeping:
            self._loop.call_later(SWEEP_SECONDS, self._sweep)


_by_server: WeakKeyDictionary[object, ConnectionLimits] = WeakKeyDictionary()


def limits_of(server: object, connections: Iterable[object], loop: asyncio.AbstractEventLoop) -> ConnectionLimits:
    """Return the limits that all connections of `server` share."""
    found = _by_server.get(server)
    if found is None:
        found = _by_server[server] = ConnectionLimits(loop, connections)  # type: ignore[arg-type]
    return found
