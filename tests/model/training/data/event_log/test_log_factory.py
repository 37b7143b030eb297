"""Readers of the service's event log, the same tests for each backend."""

from __future__ import annotations

import time

import pytest

from ingest.errors import DataError
from model.training.data.event_log import LoggedEvent, open_log
from tests.model.training.logs import append, logged, use
from tests.store.backends import Backend
from tests.store.redis.deployments.test_url import INVALID_URLS


def read_all(url: str) -> list[LoggedEvent]:
    with open_log(url) as log:
        return [event for shard in range(log.shards) for event in log.read(shard, (), 1000)[0]]


def test_log_is_read_as_the_store_returns_it(backend: Backend) -> None:
    append(backend, [("a", "x", 2.0), ("b", "y", 1.0)])
    append(backend, [("a", "z", 1.5)], named=True)
    found = sorted(event[:5] for event in read_all(backend.url))
    assert found == logged(backend, ["a", "b"])


@pytest.mark.parametrize(("url", "message"), INVALID_URLS)
def test_url_that_the_service_refuses_is_refused_without_its_password(url: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as refusal, open_log(url):
        pass
    assert "secret" not in str(refusal.value)


def test_reading_continues_after_a_position_up_to_the_newest(backend: Backend) -> None:
    append(backend, [("a", f"i{n}", float(n)) for n in range(5)])
    with open_log(backend.url) as log:
        [shard] = [shard for shard in range(log.shards) if log.newest(shard) > (0,)]
        first, position = log.read(shard, (), 2)
        rest, last = log.read(shard, position, 100)
        assert [event.item_id for event in first + rest] == ["i0", "i1", "i2", "i3", "i4"]
        assert log.newest(shard) == last > position
        assert log.read(shard, last, 100) == ([], last)


def test_deletion_of_an_event_increments_the_count(backend: Backend) -> None:
    append(backend, [("a", "x", 1.0)])
    with open_log(backend.url) as log:
        assert sum(log.deletions(shard) for shard in range(log.shards)) == 0
    use(backend, lambda store: store.delete_event("a", "seq-1"))
    with open_log(backend.url) as log:
        assert sum(log.deletions(shard) for shard in range(log.shards)) == 1


def test_arrival_is_by_the_log_and_not_by_the_client(backend: Backend) -> None:
    started = time.time()
    append(backend, [("a", "x", 5.0), ("a", "y", 253_402_300_799.0)])
    for event in read_all(backend.url):
        assert started - 2 < event.arrived < time.time() + 2


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite:////nonexistent/events.db", "there is no event log"),
        ("sqlite:///", "must begin with"),
        ("postgres://me:secret@host/db", "must begin with"),
        ("redis://me:secret@127.0.0.1:1/0", "redis://127.0.0.1:1/0 cannot be read"),
        ("redis://me:secret@host:port/0", "malformed"),
    ],
)
def test_unreadable_log_raises_without_showing_the_password(url: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as raised:
        read_all(url)
    assert "secret" not in str(raised.value)
