"""Fill a store with events directly, without HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from loadtests.environment.servers import ServerError
from service.core.errors import StoreUnavailable
from service.core.events import AppendAndRead, NewEvent
from service.store.factory import open_store

# One call to the store must end within its timeout of a second.
_MAX_EVENTS_PER_USER_AND_CALL = 250
_MAX_EVENTS_PER_CALL = 1000


def seed_store(url: str, users: Sequence[str], items: Sequence[str], events: int, events_kept: int) -> None:
    """Append `events` events to the log of each user, without snapshots.

    As after an import, a user's state is computed at the first request for that user.

    Args:
        url: the store, as in `RECBLR_STATE_URL`.
        users: user ids.
        items: item ids; user n begins at item 31 n and goes through them in order.
        events: events of each user.
        events_kept: newest events that each log keeps, as in `RECBLR_EVENTS_KEPT`.

    Raises:
        ServerError: the store did not answer in time.
    """
    asyncio.run(_seed(url, users, items, events, events_kept))


async def _seed(url: str, users: Sequence[str], items: Sequence[str], events: int, events_kept: int) -> None:
    store = await open_store(url, events_kept)
    users_per_call = max(1, _MAX_EVENTS_PER_CALL // min(events, _MAX_EVENTS_PER_USER_AND_CALL))
    event_of_item = [NewEvent.create(item, None, None, 1.7e9) for item in items]
    try:
        for first_user in range(0, len(users), users_per_call):
            for first_event in range(0, events, _MAX_EVENTS_PER_USER_AND_CALL):
                numbers = range(first_event, min(first_event + _MAX_EVENTS_PER_USER_AND_CALL, events))
                requests = [
                    AppendAndRead(users[n], None, tuple(event_of_item[(31 * n + e) % len(items)] for e in numbers))
                    for n in range(first_user, min(first_user + users_per_call, len(users)))
                ]
                views = await store.append_and_read(requests)
                if any(isinstance(view, StoreUnavailable) for view in views):
                    raise ServerError("cannot seed the store: it did not answer in time")
    finally:
        await store.close()
