"""Waiting for the write lock of a SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from service.store.sqlite.schema import BUSY_SECONDS
from service.store.sqlite.transactions import LOCK_PAUSE_SECONDS, begin


@pytest.fixture
def connections(tmp_path: Path) -> Iterator[tuple[sqlite3.Connection, sqlite3.Connection]]:
    """Two connections to one file; the first holds the write lock."""
    path = tmp_path / "recblr.db"
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as holder,
        closing(sqlite3.connect(path, isolation_level=None)) as waiting,
    ):
        holder.execute("PRAGMA journal_mode=WAL")
        begin(holder, "IMMEDIATE")
        yield holder, waiting


def test_released_lock_is_taken_at_the_next_attempt(
    connections: tuple[sqlite3.Connection, sqlite3.Connection],
) -> None:
    holder, waiting = connections
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            holder.execute("COMMIT")

    begin(waiting, "IMMEDIATE", sleep=sleep)
    assert waiting.in_transaction
    assert pauses == [LOCK_PAUSE_SECONDS] * 3


def test_lock_that_is_never_released_raises_after_the_time_limit(
    connections: tuple[sqlite3.Connection, sqlite3.Connection],
) -> None:
    _, waiting = connections
    time = 0.0

    def sleep(seconds: float) -> None:
        nonlocal time
        time += seconds

    with pytest.raises(sqlite3.OperationalError, match="locked"):
        begin(waiting, "IMMEDIATE", clock=lambda: time, sleep=sleep)
    assert time == pytest.approx(BUSY_SECONDS, rel=0.01)
    assert not waiting.in_transaction


def test_reader_does_not_wait_for_the_lock(connections: tuple[sqlite3.Connection, sqlite3.Connection]) -> None:
    begin(connections[1], "DEFERRED", sleep=lambda _: pytest.fail("a reader waited"))
    assert connections[1].in_transaction


def test_other_errors_are_raised_at_once(connections: tuple[sqlite3.Connection, sqlite3.Connection]) -> None:
    holder, _ = connections
    with pytest.raises(sqlite3.OperationalError, match="within a transaction"):
        begin(holder, "IMMEDIATE", sleep=lambda _: pytest.fail("a fault was retried"))


def test_statements_after_it_wait_as_before(connections: tuple[sqlite3.Connection, sqlite3.Connection]) -> None:
    holder, waiting = connections
    holder.execute("COMMIT")
    begin(waiting, "IMMEDIATE")
    assert waiting.execute("PRAGMA busy_timeout").fetchone() == (int(1000 * BUSY_SECONDS),)
