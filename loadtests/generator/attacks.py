"""Attacks on a server, each in a process of its own.

    python -m loadtests.generator.attacks NAME PORT SECONDS

Prints "ready" when the attack has begun, and at the end how much was sent.
"""

from __future__ import annotations

import gzip
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import count
from random import Random

from loadtests.generator.http_client import Connection, make_request
from loadtests.generator.largest_requests import with_body

SILENT, SLOW = 2_000, 300
_PARALLEL = 8
_NICE = 10  # the attacker's own work would otherwise compete with the server, as it does not on another machine
_DRIP_SECONDS = 0.5

Attack = Callable[[int, float], int]


def silent_connections(port: int, end: float) -> int:
    """Open connections that send nothing, again when they are closed."""
    return _hold(port, end, SILENT, b"", b"")


def slow_connections(port: int, end: float) -> int:
    """Send heads and bodies byte by byte."""
    head = b"POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 10000\r\n\r\n"
    return _hold(port, end, SLOW, head, b" ")


def pipelined_requests(port: int, end: float) -> int:
    """Send requests without reading the answers."""
    return _flood(port, end, b"GET /x HTTP/1.1\r\nhost: x\r\n\r\n" * 2_000, connections=3)


def endless_trailers(port: int, end: float) -> int:
    """Send trailers of 20 MB."""
    head = b"POST /v1/events HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n"
    return _flood(port, end, head + b"a: " + b"b" * 20_000_000, connections=4)


def tiny_chunks(port: int, end: float) -> int:
    """Send a body in chunks of one byte."""
    head = b"POST /v1/events HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    return _flood(port, end, head + b"1\r\n \r\n" * 500_000, connections=4)


def unknown_fields(port: int, end: float) -> int:
    """Send bodies of 400,000 unknown fields."""
    body = ("{" + ",".join(f'"f{number}":1' for number in range(360_000)) + "}").encode()[: 4 << 20]
    return _repeat(port, end, lambda _: with_body("/v1/events", body).raw)


def gzip_bombs(port: int, end: float) -> int:
    """Send small bodies that are large when decompressed."""
    body = gzip.compress(bytes(4 << 20))
    return _repeat(port, end, lambda _: with_body("/v1/events", body, **{"content-encoding": "gzip"}).raw)


def many_parameters(port: int, end: float) -> int:
    """Send heads full of query parameters."""
    return _repeat(port, end, lambda _: make_request("", "GET", "/v1/users/u/recommendations?" + "a&" * 30_000).raw)


def large_batches(port: int, end: float) -> int:
    """Send batches of 1,000 new users."""

    def batch(random: Random) -> bytes:
        events = [{"user_id": f"{random.getrandbits(64):x}", "item_id": "1"} for _ in range(1000)]
        return make_request("", "POST", "/v1/events/batch", {"events": events}).raw

    return _repeat(port, end, batch)


def long_histories(port: int, end: float) -> int:
    """Ask for 10,000 items after histories of 1,000."""
    body = {"history": [str(1 + number % 3000) for number in range(1000)], "k": 10_000, "exclude_seen": False}
    return _repeat(port, end, lambda _: make_request("", "POST", "/v1/recommendations", body).raw)


def merges(port: int, end: float) -> int:
    """Merge users with 1,000 events each."""
    serials = count(os.getpid() * 1_000_000)

    def run(_: int) -> int:
        merged, connection = 0, _patient(port)
        while time.monotonic() < end:
            first, second = next(serials), next(serials)
            for user in (first, second):
                events = [
                    {"user_id": f"m{user}", "item_id": "1", "timestamp": 1e9 + n, "event_id": f"{user}-{n}"}
                    for n in range(1000)
                ]
                connection.request(make_request("", "POST", "/v1/events/batch", {"events": events}).raw)
            connection.request(
                make_request("", "POST", f"/v1/users/m{first}/merge", {"from_user_id": f"m{second}"}).raw
            )
            merged += 1
        return merged

    print("ready", flush=True)
    return _in_threads(run, 2)


ATTACKS: Mapping[str, Attack] = {
    function.__name__: function
    for function in (
        silent_connections, slow_connections, pipelined_requests, endless_trailers, tiny_chunks, unknown_fields,
        gzip_bombs, many_parameters, large_batches, long_histories, merges,
    )
}  # fmt: skip


def _hold(port: int, end: float, number: int, head: bytes, drip: bytes) -> int:
    """Keep connections open; return how many were opened."""
    held: list[socket.socket] = []
    opened = 0
    ready = False
    while time.monotonic() < end:
        held = [each for each in held if _is_open(each, drip)]
        while len(held) < number and time.monotonic() < end:
            with suppress(OSError):
                each = socket.create_connection(("127.0.0.1", port), timeout=1)
                each.setblocking(False)
                each.sendall(head)
                held.append(each)
                opened += 1
        if not ready:
            print("ready", flush=True)
            ready = True
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


def _flood(port: int, end: float, data: bytes, connections: int) -> int:
    """Send `data` on several connections again and again."""

    def run(_: int) -> int:
        sent = 0
        while time.monotonic() < end:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                for position in range(0, len(data), 1 << 16):
                    sent += connection.send(data[position : position + (1 << 16)])
                    if time.monotonic() > end:
                        break
        return sent

    print("ready", flush=True)
    return _in_threads(run, connections)


def _repeat(port: int, end: float, make: Callable[[Random], bytes]) -> int:
    """Send requests on parallel connections, one after the other."""

    def run(number: int) -> int:
        answered, random = 0, Random(f"{os.getpid()} {number}")
        while time.monotonic() < end:
            with suppress(OSError):
                connection = _patient(port)
                while time.monotonic() < end:
                    connection.request(make(random))
                    answered += 1
        return answered

    print("ready", flush=True)
    return _in_threads(run, _PARALLEL)


def _patient(port: int) -> Connection:
    connection = Connection(port)
    connection.socket.settimeout(30)
    return connection


def _in_threads(run: Callable[[int], int], number: int) -> int:
    counts = [0] * number

    def store(index: int) -> None:
        counts[index] = run(index)

    threads = [threading.Thread(target=store, args=(index,), daemon=True) for index in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts)


def main(arguments: Sequence[str]) -> None:
    """Run the attack that the arguments name."""
    name, port, seconds = arguments
    os.nice(_NICE)
    print(ATTACKS[name](int(port), time.monotonic() + float(seconds)))


if __name__ == "__main__":
    main(sys.argv[1:])
