"""Ways to send an attack: held connections, floods, parallel requests.

Everything is prepared before "ready" is printed, so that the attacker's own CPU time is that of sending.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count

from loadtests.generator.http_client import Connection

_PARALLEL = 8
_DRIP_SECONDS = 0.5
_CONNECT_SECONDS = 1
_PATIENCE_SECONDS = 30
_PIECE_BYTES = 1 << 16

Serials = Callable[[], int]


def announce() -> None:
    """Tell the scenario that the attack begins."""
    print("ready", flush=True)


def serials() -> Serials:
    """Return a counter for all threads of this process.

    Each process counts in a range of its own.
    """
    return count(os.getpid() % 100_000 * 1_000_000).__next__


def hold(port: int, end: float, number: int, head: bytes, drip: bytes) -> int:
    """Keep connections open; return how many were opened."""
    held: list[socket.socket] = []
    opened = 0
    announce()
    while time.monotonic() < end:
        held = [each for each in held if _is_open(each, drip)]
        while len(held) < number and time.monotonic() < end:
            with suppress(OSError):
                each = socket.create_connection(("127.0.0.1", port), timeout=_CONNECT_SECONDS)
                each.setblocking(False)
                each.sendall(head)
                held.append(each)
                opened += 1
        time.sleep(_DRIP_SECONDS)
    for each in held:
        each.close()
    return opened


def _is_open(connection: socket.socket, drip: bytes) -> bool:
    try:
        if drip:
            connection.send(drip)
        if connection.recv(65536):
            return True
    except BlockingIOError:
        return True
    except OSError:
        pass
    connection.close()
    return False


def flood(port: int, end: float, data: bytes, connections: int) -> int:
    """Send `data` on several connections again and again; return the bytes sent."""
    pieces = [data[position : position + _PIECE_BYTES] for position in range(0, len(data), _PIECE_BYTES)]

    def run(_: int) -> int:
        sent = 0
        while time.monotonic() < end:
            with (
                suppress(OSError),
                socket.create_connection(("127.0.0.1", port), timeout=_CONNECT_SECONDS) as connection,
            ):
                for piece in pieces:
                    sent += connection.send(piece)
                    if time.monotonic() > end:
                        break
        return sent

    return in_threads(run, connections)


def repeat(port: int, end: float, make: Callable[[int], bytes]) -> int:
    """Send requests on parallel connections, one after the other.

    `make` returns a request with a serial number in it. Returns how many were answered.
    """

    next_serial = serials()

    def run(_: int) -> int:
        answered = 0
        while time.monotonic() < end:
            with suppress(OSError):
                connection = patient_connection(port)
                while time.monotonic() < end:
                    connection.request(make(next_serial()))
                    answered += 1
        return answered

    return in_threads(run, _PARALLEL)


def patient_connection(port: int) -> Connection:
    """Connect, for answers that take long."""
    connection = Connection(port)
    connection.socket.settimeout(_PATIENCE_SECONDS)
    return connection


def in_threads(run: Callable[[int], int], number: int) -> int:
    """Run a function in threads; return the sum of the results."""
    counts = [0] * number

    def store(index: int) -> None:
        counts[index] = run(index)

    threads = [threading.Thread(target=store, args=(index,), daemon=True) for index in range(number)]
    announce()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts)
