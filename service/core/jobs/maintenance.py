"""Periodic maintenance of the event log: retention, unfinished merges, memory.

Runs in every worker; every step is idempotent.
"""

from __future__ import annotations

import logging
import time

from service.core.errors import StoreUnavailable
from service.core.periodic_task import PeriodicTask
from service.core.ports import Store
from service.core.throttle import throttle

_log = logging.getLogger(__name__)

MERGE_INTERVAL_SECONDS = 60.0
MEMORY_INTERVAL_SECONDS = 15.0
NEARLY_FULL = 0.8  # fraction of the store's memory limit
# At most 1,000 users a second: a pass over a million users takes 17 minutes.
PAGE_USERS = 100
PAGE_INTERVAL_SECONDS = 0.1
PASS_INTERVAL_SECONDS = 3600.0
# When an age limit is introduced, all events of all users may be too old. A Lua script blocks Redis, so
# one call removes at most this many events, or those of one user.
MAX_EVENTS_PER_CALL = 4000
MAX_FRACTION = 0.1


class Maintenance:
    """Finishes user merges, removes old events, watches the store's memory.

    A user's next event removes that user's old events. Users who never come back are found by a pass over all users,
    repeated every hour.
    """

    def __init__(
        self,
        store: Store,
        *,
        remove_expired: bool,
        events_kept: int,
        max_fraction: float = MAX_FRACTION,
        merge_interval_seconds: float = MERGE_INTERVAL_SECONDS,
        page_interval_seconds: float = PAGE_INTERVAL_SECONDS,
        pass_interval_seconds: float = PASS_INTERVAL_SECONDS,
    ) -> None:
        """Create the job without starting it.

        Args:
            store: the event log.
            remove_expired: whether the log has an age limit.
            events_kept: maximum number of events of a user.
            max_fraction: fraction of the time that removing may take.
            merge_interval_seconds: time between two searches for interrupted merges, and after a failure.
            page_interval_seconds: time between two pages of a pass over the users.
            pass_interval_seconds: time between two passes.
        """
        self._store = store
        self._users_per_call = max(1, MAX_EVENTS_PER_CALL // events_kept)
        self._max_fraction = max_fraction
        self._merge_interval_seconds = merge_interval_seconds
        self._page_interval_seconds = page_interval_seconds
        self._pass_interval_seconds = pass_interval_seconds
        self._cursor = ""
        retry = merge_interval_seconds
        self._tasks = [
            PeriodicTask(self._finish_merges, _log, "cannot finish user merges", retry_seconds=retry),
            PeriodicTask(self._check_memory, _log, "cannot read the event log's memory", retry_seconds=retry),
        ]
        self._nearly_full = False
        if remove_expired:
            message = "cannot remove expired events"
            self._tasks.append(PeriodicTask(self._expire_page, _log, message, retry_seconds=retry))

    def start(self) -> None:
        """Start to work in the background."""
        for task in self._tasks:
            task.start()

    async def close(self) -> None:
        """Stop. A step that is interrupted is repeated after the next start."""
        for task in self._tasks:
            await task.close()

    async def _finish_merges(self) -> float:
        finished = await self._store.finish_merges()
        if finished:
            _log.info("finished interrupted user merges", extra={"count": finished})
        return self._merge_interval_seconds

    async def _check_memory(self) -> float:
        """Record how full the store is, and warn once."""
        used = await self._store.memory_used() or 0.0
        if used >= NEARLY_FULL and not self._nearly_full:
            _log.warning(
                "event log nearly full; raise its maxmemory or keep fewer events", extra={"used": f"{used:.2f}"}
            )
        self._nearly_full = used >= NEARLY_FULL
        return MEMORY_INTERVAL_SECONDS

    async def _expire_page(self) -> float:
        """Remove the expired events of one page of users."""
        page = self._cursor
        users, self._cursor = await self._store.users(page, PAGE_USERS)
        try:
            for start in range(0, len(users), self._users_per_call):
                started_at = time.monotonic()
                removed = await self._store.expire(users[start : start + self._users_per_call])
                if removed:
                    _log.debug("removed expired events", extra={"count": removed})
                await throttle(started_at, self._max_fraction)
        except StoreUnavailable:
            # Repeat the page after an outage. Any other error may be permanent, so the pass skips the page.
            self._cursor = page
            raise
        return self._page_interval_seconds if self._cursor else self._pass_interval_seconds
