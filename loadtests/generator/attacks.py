"""Attacks on a server, each in a process of its own.

    python -m loadtests.generator.attacks NAME PORT SECONDS

Prints "ready" when the attack begins, and at the end how much was sent. The process runs only while a core is free
(SCHED_IDLE), because an attacker on another machine takes no core from the server.
"""

from __future__ import annotations

import gzip
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from loadtests.environment.processes import run_when_idle
from loadtests.generator.attack_traffic import flood, hold, in_threads, patient_connection, repeat, serials
from loadtests.generator.http_client import SERIAL, make_request
from loadtests.generator.largest_requests import with_body

SILENT, SLOW = 2_000, 300
_CHUNKED_POST = b"POST /v1/events HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
_ID = SERIAL.decode()

Attack = Callable[[int, float], int]


def silent_connections(port: int, end: float) -> int:
    """Open connections that send nothing, again when they are closed."""
    return hold(port, end, SILENT, b"", b"")


def slow_connections(port: int, end: float) -> int:
    """Send heads and bodies byte by byte."""
    head = b"POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 10000\r\n\r\n"
    return hold(port, end, SLOW, head, b" ")


def pipelined_requests(port: int, end: float) -> int:
    """Send requests without reading the answers."""
    return flood(port, end, b"GET /x HTTP/1.1\r\nhost: x\r\n\r\n" * 2_000, connections=3)


def endless_trailers(port: int, end: float) -> int:
    """Send trailers of 20 MB."""
    return flood(port, end, _CHUNKED_POST + b"0\r\na: " + b"b" * 20_000_000, connections=4)


def tiny_chunks(port: int, end: float) -> int:
    """Send a body in chunks of one byte."""
    return flood(port, end, _CHUNKED_POST + b"1\r\n \r\n" * 500_000, connections=4)


def small_chunks(port: int, end: float) -> int:
    """Send bodies of 4 MB in the smallest allowed chunks."""
    return flood(port, end, _CHUNKED_POST + b"3\r\n   \r\n" * 1_400_000, connections=4)


def malformed_framing(port: int, end: float) -> int:
    """Send invalid heads and chunks, each on a new connection."""
    wrong = (
        b"GET / HTTP/1.1\r\n folded: x\r\nhost: x\r\n\r\n",
        b"POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        _CHUNKED_POST + b"5;" + b"e" * 900 + b"\r\nabcdefg\r\n0\r\n\r\n",
        b"\x16\x03\x01\x02\x00" + b"\x00" * 512 + b"\r\n\r\n",  # TLS
    )
    return repeat(port, end, lambda serial: wrong[serial % len(wrong)])


def upgrades(port: int, end: float) -> int:
    """Ask for other protocols, with requests in and behind the body."""
    inner = b"GET /v1/users/smuggled/recommendations HTTP/1.1\r\nhost: x\r\n\r\n"
    head = (
        b"POST /v1/events HTTP/1.1\r\nhost: x\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: %s\r\n"
        b"http2-settings: AAMAAABk\r\nsec-websocket-version: 13\r\nsec-websocket-key: eA==\r\n"
        b"content-length: %d\r\n\r\n%s"
    )
    both = b"".join(head % (name, len(inner), inner) + inner for name in (b"h2c", b"websocket"))
    return flood(port, end, both * 500, connections=4)


def unknown_fields(port: int, end: float) -> int:
    """Send bodies of 360,000 unknown fields."""
    body = ("{" + ",".join(f'"f{number}":1' for number in range(360_000)) + "}").encode()[: 4 << 20]
    raw = with_body("/v1/events", body).raw
    return repeat(port, end, lambda _: raw)


def gzip_bombs(port: int, end: float) -> int:
    """Send small bodies that are large when decompressed."""
    raw = with_body("/v1/events", gzip.compress(bytes(4 << 20)), **{"content-encoding": "gzip"}).raw
    return repeat(port, end, lambda _: raw)


def many_parameters(port: int, end: float) -> int:
    """Send heads full of query parameters."""
    raw = make_request("", "GET", "/v1/users/u/recommendations?" + "a&" * 30_000).raw
    return repeat(port, end, lambda _: raw)


def large_batches(port: int, end: float) -> int:
    """Send batches of 1,000 new users."""
    events = [{"user_id": f"{_ID}-{number}", "item_id": "1"} for number in range(1000)]
    return repeat(port, end, make_request("", "POST", "/v1/events/batch", {"events": events}).with_serial)


def long_histories(port: int, end: float) -> int:
    """Ask for 10,000 items after histories of 1,000."""
    body = {"history": [str(1 + number % 3000) for number in range(1000)], "k": 10_000, "exclude_seen": False}
    raw = make_request("", "POST", "/v1/recommendations", body).raw
    return repeat(port, end, lambda _: raw)


def merges(port: int, end: float) -> int:
    """Merge users with 1,000 events each."""
    first, second = f"first-{_ID}", f"second-{_ID}"
    requests = [
        make_request(
            "",
            "POST",
            "/v1/events/batch",
            {
                "events": [
                    {"user_id": user, "item_id": "1", "timestamp": 1e9 + n, "event_id": f"{user}-{n}"}
                    for n in range(1000)
                ]
            },
        )
        for user in (first, second)
    ]
    requests.append(make_request("", "POST", f"/v1/users/{first}/merge", {"from_user_id": second}))
    next_serial = serials()

    def run(_: int) -> int:
        merged = 0
        while time.monotonic() < end:
            with suppress(OSError):
                connection = patient_connection(port)
                while time.monotonic() < end:
                    serial = next_serial()
                    for request in requests:
                        connection.request(request.with_serial(serial))
                    merged += 1
        return merged

    return in_threads(run, 2)


ATTACKS: Mapping[str, Attack] = {
    function.__name__: function
    for function in (
        silent_connections, slow_connections, pipelined_requests, endless_trailers, tiny_chunks, small_chunks,
        malformed_framing, upgrades, unknown_fields, gzip_bombs, many_parameters, large_batches, long_histories,
        merges,
    )
}  # fmt: skip


def main(arguments: Sequence[str]) -> None:
    """Run the attack that the arguments name."""
    name, port, seconds = arguments
    run_when_idle()
    print(ATTACKS[name](int(port), time.monotonic() + float(seconds)))


if __name__ == "__main__":
    main(sys.argv[1:])
