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
from service.engine.search.gathered.gathered_cache import GATHERED_ROW_SECONDS, GatheredCache
from service.engine.search.gathered.gathered_rows import GatheredRows

ROWS = 5
ENOUGH = 1.0 + GATHERED_ROW_SECONDS * ROWS


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
    return AllowedRows(words, ROWS) if older is None else AllowedRows(words, ROWS, older.lineage)


def is_of(found: GatheredRows | None, allowed: AllowedRows) -> bool:
    return found is not None and cast(FakeRows, found).bitmap is allowed.bitmap


def test_rows_are_gathered_once_searches_have_lost_as_much_time_as_that_takes() -> None:
    cache, held = cache_of()
    one, other = new_filter(), new_filter()
    cache.spent(one, 1, 4.2e-5)
    cache.spent(other, 10, 1e-4)  # faster than gathered rows would be
    assert not held.tasks
    cache.spent(one, 1, 4.2e-5)
    cache.spent(one, 1, ENOUGH)
    assert len(held.tasks) == 1
    assert cache.find(one) is None
    held.run()
    assert is_of(cache.find(one), one)
    assert cache.find(other) is None


def test_filter_that_is_fast_without_gathered_rows_never_gets_any() -> None:
    cache, held = cache_of()
    allowed = new_filter()
    for _ in range(1000):
        cache.spent(allowed, 3, 3 * 3.9e-5)
    assert not held.tasks


def test_changed_filter_uses_its_old_rows_until_they_are_gathered_again() -> None:
    cache, held = cache_of()
    old = new_filter()
    cache.spent(old, 1, ENOUGH)
    held.run()
    new = new_filter(old)
    assert is_of(cache.find(new), old)
    assert len(held.tasks) == 1
    held.run()
    assert is_of(cache.find(new), new)
    assert not held.tasks


def test_rows_not_used_longest_are_dropped_beyond_the_bound() -> None:
    cache, held = cache_of(max_bytes=250)
    filters = [new_filter() for _ in range(3)]
    for allowed in filters:
        cache.spent(allowed, 1, ENOUGH)
        held.run()
        cache.find(filters[0])
    assert cache.nbytes == 200
    assert [is_of(cache.find(allowed), allowed) for allowed in filters] == [True, False, True]
    assert not held.tasks, "a dropped filter has to be used again first"


def test_rows_of_a_filter_that_is_gone_are_dropped() -> None:
    cache, held = cache_of()
    filters = [new_filter(), new_filter()]
    for allowed in filters:
        cache.spent(allowed, 1, ENOUGH)
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
    cache.spent(allowed, 1, ENOUGH)
    with caplog.at_level(logging.ERROR):
        held.run()
    assert "cannot gather the rows of a filter" in caplog.text
    cache.spent(allowed, 1, ENOUGH)
    assert cache.find(allowed) is None
    assert not held.tasks, "it would fail again"


def test_rows_are_gathered_in_a_thread() -> None:
    cache = GatheredCache(cast(Callable[[AllowedRows], GatheredRows], FakeRows))
    allowed = new_filter()
    cache.spent(allowed, 1, ENOUGH)
    assert cache._thread is not None
    cache.wait()
    assert is_of(cache.find(allowed), allowed)
