"""Cache of gathered rows: when they are gathered, replaced and dropped."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import numpy as np
import pytest

from service.core.engine_requests import AllowedRows
from service.engine.search.gathered.gathered_cache import MIN_QUERIES, GatheredCache
from service.engine.search.gathered.gathered_rows import GatheredRows


class FakeRows:
    """Rows of 100 bytes, outdated by any other bitmap."""

    nbytes = 100

    def __init__(self, allowed: AllowedRows) -> None:
        self.bitmap = allowed.bitmap

    def is_outdated(self, allowed: AllowedRows) -> bool:
        return allowed.bitmap is not self.bitmap


class Held:
    """Executor whose tasks run when the test says so."""

    def __init__(self) -> None:
        self.tasks: list[Callable[[], None]] = []

    def submit(self, task: Callable[[], None]) -> None:
        self.tasks.append(task)

    def run(self) -> None:
        while self.tasks:
            self.tasks.pop(0)()


def cache_of(max_bytes: int = 250, gather: Any = FakeRows) -> tuple[GatheredCache, Held]:
    cache, held = GatheredCache(gather, max_bytes), Held()
    cache._thread = cast(ThreadPoolExecutor, held)
    return cache, held


def new_filter(older: AllowedRows | None = None) -> AllowedRows:
    words = np.zeros(4, np.uint32)
    return AllowedRows(words, 5) if older is None else AllowedRows(words, 5, older.lineage)


def is_of(found: GatheredRows | None, allowed: AllowedRows) -> bool:
    return found is not None and cast(FakeRows, found).bitmap is allowed.bitmap


def test_rows_are_gathered_once_a_filter_has_answered_enough_queries() -> None:
    cache, held = cache_of()
    one, other = new_filter(), new_filter()
    for _ in range(MIN_QUERIES - 1):
        assert cache.find(one, 1) is None
        cache.find(other, 0)
    assert not held.tasks
    assert cache.find(one, 3) is None
    assert cache.find(one, 3) is None
    assert len(held.tasks) == 1
    held.run()
    assert is_of(cache.find(one, 1), one)
    assert cache.find(other, 1) is None


def test_changed_filter_uses_its_old_rows_until_they_are_gathered_again() -> None:
    cache, held = cache_of()
    old = new_filter()
    cache.find(old, MIN_QUERIES)
    held.run()
    new = new_filter(old)
    assert is_of(cache.find(new, 1), old)
    assert len(held.tasks) == 1
    held.run()
    assert is_of(cache.find(new, 1), new)
    assert not held.tasks


def test_rows_not_used_longest_are_dropped_beyond_the_bound() -> None:
    cache, held = cache_of(max_bytes=250)
    filters = [new_filter() for _ in range(3)]
    for allowed in filters:
        cache.find(allowed, MIN_QUERIES)
        held.run()
        cache.find(filters[0], 1)
    assert cache.nbytes == 200
    assert [is_of(cache.find(allowed, 1), allowed) for allowed in filters] == [True, False, True]
    assert not held.tasks, "a dropped filter has to be used again first"


def test_rows_of_a_filter_that_is_gone_are_dropped() -> None:
    cache, held = cache_of()
    filters = [new_filter(), new_filter()]
    for allowed in filters:
        cache.find(allowed, MIN_QUERIES)
        held.run()
    assert cache.nbytes == 200
    del filters[0], allowed
    gc.collect()
    assert cache.nbytes == 100


def test_filter_whose_rows_cannot_be_gathered_is_searched_otherwise(caplog: pytest.LogCaptureFixture) -> None:
    def fail(allowed: AllowedRows) -> GatheredRows:
        raise MemoryError

    cache, held = cache_of(gather=fail)
    allowed = new_filter()
    cache.find(allowed, MIN_QUERIES)
    with caplog.at_level(logging.ERROR):
        held.run()
    assert "cannot gather the rows of a filter" in caplog.text
    assert cache.find(allowed, MIN_QUERIES) is None
    assert not held.tasks


def test_rows_are_gathered_in_a_thread() -> None:
    cache = GatheredCache(cast(Callable[[AllowedRows], GatheredRows], FakeRows))
    allowed = new_filter()
    cache.find(allowed, MIN_QUERIES)
    assert cache._thread is not None
    cache._thread.submit(lambda: None).result()
    assert is_of(cache.find(allowed, 1), allowed)
