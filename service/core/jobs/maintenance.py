"""What the log needs done beside the requests. Every worker does it: it costs little, and twice is as once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextvars import Context

from service.core.errors import ServiceError
from service.core.log_throttle import ThrottledLogger
from service.core.ports import Store
from service.core.throttle import throttle

_log = logging.getLogger(__name__)
_outages = ThrottledLogger(_log)

MERGES_SECONDS = 60.0
# A page of users a moment: up to 1,000 users a second, which is a million in 17 minutes.
PAGE_USERS = 100
PAGE_SECONDS = 0.1
# Where age has just got a limit, all events of all users may go. Redis serves nobody else during an exchange, so one
# removes no more than this, or one user's; and for each it rests for nine times as long.
MOST_EVENTS = 4000
SHARE = 0.1
ROUND_SECONDS = 3600.0  # between two rounds through all users


class Maintenance:
    """Finishes merges that were cut off, at the start and once a minute.

    With `expires` it also goes through all users, again and again, and applies the limit of age, which nobody else
    does for those who never come back. That takes `share` of the time at most; a user has up to `events_kept` events.
    """

    def __init__(
        self,
        store: Store,
        *,
        expires: bool,
        events_kept: int,
        share: float = SHARE,
        merges_pause: float = MERGES_SECONDS,
        page_pause: float = PAGE_SECONDS,
        round_pause: float = ROUND_SECONDS,
    ) -> None:
        self._store = store
        self._expires = expires
        self._at_once = max(1, MOST_EVENTS // events_kept)
        self._share = share
        self._merges_pause = merges_pause
        self._page_pause = page_pause
        self._round_pause = round_pause
        self._cursor = ""
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin."""
        self._tasks.append(asyncio.create_task(self._again_and_again(self._finish_merges), context=Context()))
        if self._expires:
            self._tasks.append(asyncio.create_task(self._again_and_again(self._expire_page), context=Context()))

    async def close(self) -> None:
        """Stop. A call that this interrupts is like any that is cut off."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _again_and_again(self, work: Callable[[], Awaitable[float]]) -> None:
        """Do `work`, which says how many seconds to rest after it; after a failure it is done again in a while."""
        while True:
            pause = self._merges_pause
            try:
                pause = await work()
            except ServiceError as error:
                _outages.warn(error.code, "housekeeping waits for the log", reason=error.for_log)
            except Exception:
                _log.exception("housekeeping failed")
            await asyncio.sleep(pause)

    async def _finish_merges(self) -> float:
        finished = await self._store.finish_merges()
        if finished:
            _log.info("finished merges that were cut off", extra={"count": finished})
        return self._merges_pause

    async def _expire_page(self) -> float:
        page = self._cursor
        users, self._cursor = await self._store.users(page, PAGE_USERS)
        try:
            for first in range(0, len(users), self._at_once):
                began = time.monotonic()
                removed = await self._store.expire(users[first : first + self._at_once])
                if removed:
                    _log.debug("removed events that were too old", extra={"count": removed})
                await throttle(began, self._share)
        except ServiceError:
            self._cursor = page  # that passes; a fault may not, and must not keep the rest from being looked at
            raise
        return self._page_pause if self._cursor else self._round_pause
