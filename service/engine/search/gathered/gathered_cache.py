"""Gathered rows of the filters that are used most."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from threading import Lock
from weakref import WeakKeyDictionary

from service.core.engine_requests import AllowedRows, Lineage
from service.engine.search.gathered.gathered_rows import GatheredRows

MAX_BYTES = 128 << 20
# Gathering a filter's rows takes about as long as this many queries save.
MIN_QUERIES = 16

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Entry:
    """What is known of one filter.

    Attributes:
        queries: Number of queries since its rows were dropped.
        used_at: Number of the last use of any filter.
        gathered: Its rows.
        is_gathering: Whether a thread is gathering them.
    """

    queries: int = 0
    used_at: int = 0
    gathered: GatheredRows | None = None
    is_gathering: bool = False


class GatheredCache:
    """Gathers rows in a thread, once a filter has been used some times.

    The rows of filters that have not been used longest are dropped. Safe to share between threads.
    """

    def __init__(self, gather: Callable[[AllowedRows], GatheredRows], max_bytes: int = MAX_BYTES) -> None:
        self._gather, self._max_bytes = gather, max_bytes
        self._entries: WeakKeyDictionary[Lineage, _Entry] = WeakKeyDictionary()
        self._lock = Lock()
        self._uses = 0
        self._thread: ThreadPoolExecutor | None = None  # started when needed, so not before a fork

    @property
    def nbytes(self) -> int:
        """Bytes of memory of all gathered rows."""
        with self._lock:
            return self._bytes()

    def find(self, allowed: AllowedRows, queries: int) -> GatheredRows | None:
        """Return the filter's rows for some queries, if they are gathered."""
        with self._lock:
            self._uses += 1
            entry = self._entries.get(allowed.lineage)
            if entry is None:
                entry = self._entries[allowed.lineage] = _Entry()
            entry.queries, entry.used_at = entry.queries + queries, self._uses
            gathered = entry.gathered
            is_wanted = entry.queries >= MIN_QUERIES and not entry.is_gathering
            if is_wanted and (gathered is None or gathered.is_outdated(allowed)):
                entry.is_gathering = True
                self._submit(entry, allowed)
        return gathered

    def _submit(self, entry: _Entry, allowed: AllowedRows) -> None:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "gathering")
        self._thread.submit(partial(self._run, entry, allowed))

    def _run(self, entry: _Entry, allowed: AllowedRows) -> None:
        try:
            gathered = self._gather(allowed)
        except Exception:
            _log.exception("cannot gather the rows of a filter; searching the index: rows=%d", allowed.count)
            return  # it is not tried again
        with self._lock:
            entry.gathered, entry.is_gathering = gathered, False
            self._drop_others(entry)

    def _drop_others(self, kept: _Entry) -> None:
        others = [entry for entry in self._entries.values() if entry.gathered is not None and entry is not kept]
        for entry in sorted(others, key=lambda entry: entry.used_at):
            if self._bytes() <= self._max_bytes:
                break
            entry.gathered, entry.queries = None, 0

    def _bytes(self) -> int:
        return sum(entry.gathered.nbytes for entry in self._entries.values() if entry.gathered is not None)
