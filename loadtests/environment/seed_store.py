"""A store filled before a measurement: by the service's own store, many users an exchange, and not over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from loadtests.environment.servers import Server, ServerFailed
from service.core.errors import StoreUnavailable
from service.core.events import AppendAndRead, NewEvent
from service.settings import Settings
from service.store.factory import open_store

# Events of a user in one visit, and of all users in one exchange, which the store gives a second.
_APPEND_AND_READ, _EXCHANGE = 250, 1000


def fill(redis: Server, users: Sequence[str], items: Sequence[str], each: int, service: Mapping[str, str]) -> None:
    """Append `each` events to the log of each of `users`, going round through `items`, under these settings.

    No memo is written: a state is folded when somebody first asks for it, as after an import.
    """
    default = Settings.model_fields["events_kept"].default
    asyncio.run(_fill(redis.port, users, items, each, int(service.get("RECBLR_EVENTS_KEPT", default))))


async def _fill(port: int, users: Sequence[str], items: Sequence[str], each: int, keep: int) -> None:
    store = await open_store(f"redis://127.0.0.1:{port}/0", keep)
    together = max(1, _EXCHANGE // min(each, _APPEND_AND_READ))
    events = [NewEvent.create(item, None, None, 1.7e9) for item in items]
    try:
        for first in range(0, len(users), together):
            for low in range(0, each, _APPEND_AND_READ):
                wanted = range(low, min(low + _APPEND_AND_READ, each))
                requests = [
                    AppendAndRead(users[n], None, tuple(events[(31 * n + e) % len(events)] for e in wanted))
                    for n in range(first, min(first + together, len(users)))
                ]
                if any(isinstance(found, StoreUnavailable) for found in await store.append_and_read(requests)):
                    raise ServerFailed("the store could not be filled: Redis did not answer in time")
    finally:
        await store.close()
