"""Limits on the head of a request, checked before it is parsed."""

from __future__ import annotations

from service.api.connection import refusals
from service.api.connection.refusals import Refusal

MAX_HEADERS = 256
SHORT_HEAD_BYTES = 4 * MAX_HEADERS  # a head that cannot have too much
MAX_PATH_BYTES = 8 * 1024  # two ids of 256 characters take 6 KiB, percent-encoded
MAX_PARAMETERS = 2048  # a head full of them would take 25 ms to parse and to refuse one by one


def refusal_of(head: bytes) -> Refusal | None:
    """Return the refusal of a head that has too much, or None.

    Call it for heads beyond `SHORT_HEAD_BYTES`.
    """
    if head.count(b"\n") > MAX_HEADERS + 2:  # the request line and the empty one
        return refusals.HEAD_TOO_LARGE
    target = head[: head.find(b"\r\n")].partition(b" ")[2].rpartition(b" ")[0]
    return refusals.TARGET_TOO_LONG if is_target_too_long(target) else None


def is_target_too_long(target: bytes) -> bool:
    """Return whether a path or query is beyond its limit."""
    path, _, query = target.partition(b"?")
    return len(path) > MAX_PATH_BYTES or query.count(b"&") >= MAX_PARAMETERS
