"""Cache of gathered rows.

Rows that an often used filter allows are copied ("gathered") into an index of their own, which is searched instead of
the whole catalogue (decision 0113).
"""

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
# More rows of a filter are not gathered: they take too much memory.
MAX_ROWS = 1 << 18
# Estimated seconds on a core of 2024: of gathering a row, of a query, and of a query for each gathered row.
GATHERED_ROW_SECONDS = 6e-7
_QUERY_SECONDS, _QUERY_ROW_SECONDS = 4e-5, 1.9e-9

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Entry:
    """One filter.

    Attributes:
        lost: Seconds that gathered rows would have saved, since they were dropped.
        used_at: Number of the last use of any filter.
        gathered: Its rows.
        is_gathering: Whether a thread is gathering them.
    """

    lost: float = 0.0
    used_at: int = 0
    gathered: GatheredRows | None = None
    is_gathering: bool = False


class GatheredCache:
    """Gathers rows in a thread, once searches without them lost enough time.

    It is enough if gathering takes as long.

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

    def find(self, allowed: AllowedRows) -> GatheredRows | None:
        """Return the filter's rows, if they are gathered."""
        with self._lock:
            entry = self._entries.get(allowed.lineage)
            gathered = None if entry is None else entry.gathered
            if entry is None or gathered is None:
                return None
            self._uses += 1
            entry.used_at = self._uses
            if not entry.is_gathering and gathered.is_outdated(allowed):
                self._submit(entry, allowed)
        return gathered

    def spent(self, allowed: AllowedRows, queries: int, seconds: float) -> None:
        """Note that queries of the filter took `seconds` without gathered rows."""
        with self._lock:
            entry = self._entries.get(allowed.lineage)
            if entry is None:
                entry = self._entries[allowed.lineage] = _Entry()
            if entry.gathered is not None:
                return
            saved = seconds - queries * (_QUERY_SECONDS + _QUERY_ROW_SECONDS * allowed.count)
            entry.lost = max(0.0, entry.lost + saved)
            if entry.lost > GATHERED_ROW_SECONDS * allowed.count and not entry.is_gathering:
                self._submit(entry, allowed)

    def wait(self) -> None:
        """Wait until no rows are being gathered."""
        if self._thread is not None:
            self._thread.submit(int).result()

    def _submit(self, entry: _Entry, allowed: AllowedRows) -> None:
        entry.is_gathering = True
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
            self._uses += 1
            entry.gathered, entry.is_gathering, entry.used_at = gathered, False, self._uses
            self._drop_others(entry)

    def _drop_others(self, kept: _Entry) -> None:
        others = [entry for entry in self._entries.values() if entry.gathered is not None and entry is not kept]
        for entry in sorted(others, key=lambda entry: entry.used_at):
            if self._bytes() <= self._max_bytes:
                break
            entry.gathered, entry.lost = None, 0.0

    def _bytes(self) -> int:
        return sum(entry.gathered.nbytes for entry in self._entries.values() if entry.gathered is not None)
