"""Work of requests beyond an ordinary one, in ordinary requests.

An ordinary request, one event with its top 10, takes some 0.2 ms of CPU. Measured against it: a history of 1,000
items with 10,000 answers takes 8.5 ms (some 42 such requests).

It also takes memory of the event log, at most 2 KB of Redis (a new user with a snapshot). Stored ids of 256 bytes
take as much (decision 0110).
"""

from __future__ import annotations

_ITEMS, _REPLAYED, _CANDIDATES, _MERGED, _EXCLUDED = 400, 60, 100, 10, 400
_STORED_BYTES = 256
_BODY_BYTES, _ANSWER_BYTES, _QUERY_BYTES = 64 * 1024, 64 * 1024, 2048
_COMPILED_ROWS = 70_000  # 3 ms for a million rows


def of_body(size: int) -> int:
    """Return the cost of reading a large body, whatever becomes of it."""
    return size // _BODY_BYTES


def of_answer(size: int) -> int:
    """Return the cost of encoding and sending a large answer."""
    return size // _ANSWER_BYTES


def of_query(size: int) -> int:
    """Return the cost of reading a long query string."""
    return size // _QUERY_BYTES


def of_stored(size: int) -> int:
    """Return the cost of storing ids or a body of `size` bytes."""
    return size // _STORED_BYTES


def of_batch(events: int, size: int) -> int:
    """Return the cost of a batch with a body of `size` bytes.

    Each event counts as a request.
    """
    return max(events - 1, of_stored(size))


def of_items(k: int) -> int:
    """Return the cost of a long answer."""
    return k // _ITEMS


def of_history(events: int) -> int:
    """Return the cost of replaying a history."""
    return events // _REPLAYED


def of_whole_log() -> int:
    """Return the cost of replaying a log of the default length."""
    return of_history(1000)


def of_log_read() -> int:
    """Return the cost of reading a log of the default length."""
    return of_whole_log() // 4


def of_candidates(count: int) -> int:
    """Return the cost of ranking candidates."""
    return count // _CANDIDATES


def of_exclusions(count: int) -> int:
    """Return the cost of leaving out items."""
    return count // _EXCLUDED


def of_compilation(rows: int) -> float:
    """Return the cost of a filter's first use, for so many rows."""
    return rows / _COMPILED_ROWS


def of_merge(moved_events: int) -> int:
    """Return the cost of merging two logs."""
    return moved_events // _MERGED
