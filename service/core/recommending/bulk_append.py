"""Appends of batch requests, in small steps beside other requests."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from service.core.errors import EventConflict, ServiceError
from service.core.events import AppendAndRead, Appended, Conflict, LogView, NewEvent
from service.core.log_throttle import ThrottledLogger
from service.core.ports import Engine
from service.core.recommending.batching import BatchedStore
from service.core.recommending.results import Recorded

_log = logging.getLogger(__name__)

MAX_USERS_AT_ONCE = 32  # users of one batch whose appends are queued
MAX_EVENTS_PER_APPEND = 128  # of one user in one step of the store, which is some 1 ms of Redis


class BulkAppend:
    """Appends the events of one user after another.

    Args:
        store: The batched event log.
        throttled_log: Where failures are logged.
        timeout_seconds: Time for which each step may be queued.
        clock: Seconds; the clock of the store's deadlines.
    """

    def __init__(
        self,
        store: BatchedStore,
        throttled_log: ThrottledLogger,
        timeout_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._throttled_log = throttled_log
        self._timeout_seconds = timeout_seconds
        self._clock = clock

    async def append(
        self, engine: Engine, user_id: str, events: Sequence[NewEvent]
    ) -> tuple[list[Recorded | ServiceError], LogView | None]:
        """Append events of one user in steps, up to a failed one.

        Returns:
            An outcome for each event, and the log after the last step with the outcomes of all, if any succeeded.
        """
        outcomes: list[Recorded | ServiceError] = []
        appended: list[Appended | Conflict] = []
        view: LogView | None = None
        for start in range(0, len(events), MAX_EVENTS_PER_APPEND):
            request = AppendAndRead(user_id, engine.version, tuple(events[start : start + MAX_EVENTS_PER_APPEND]))
            try:
                view = await self._store.append_and_read(request, self._clock() + self._timeout_seconds, bulk=True)
            except Exception as error:
                outcomes += [self._logged_failure(error)] * (len(events) - start)
                break
            appended += view.appended
            outcomes += [
                conflict(event)
                if isinstance(outcome, Conflict)
                else Recorded(outcome.sequence, outcome.duplicate, engine.knows(event.item_id), None)
                for event, outcome in zip(request.events, view.appended, strict=True)
            ]
        return outcomes, None if view is None else replace(view, appended=tuple(appended))

    def _logged_failure(self, error: Exception) -> ServiceError:
        """Log a failed append, and return the error for the client."""
        if isinstance(error, ServiceError):
            self._throttled_log.warn(error.code, "cannot append events of a batch", reason=error.for_log)
            return error
        _log.error("cannot append events of a batch", exc_info=error)
        return ServiceError("the service failed on this event; report it with the X-Request-ID of this answer")


def conflict(event: NewEvent) -> EventConflict:
    """Build the error of an event whose id belongs to another event."""
    return EventConflict(f"event_id {event.event_id!r} was already used with another payload")
