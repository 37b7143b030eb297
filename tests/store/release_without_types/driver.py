"""Store of the release without event types, driven by JSON lines.

It runs as a program of its own, with that release's `service` (service.zip) first on the path.
"""

import asyncio
import json
import sys
from dataclasses import asdict
from typing import Any

from service.core.recommending.snapshots import next_snapshot

from service.core.errors import ServiceError
from service.core.events import AppendAndRead, NewEvent
from service.store.factory import open_store


async def run(url: str, keep: int, days: int) -> None:
    store = await open_store(url, keep, days_kept=days or None)
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        try:
            result = await call(store, name, arguments)
        except (ServiceError, ValueError) as error:
            result = {"error": type(error).__name__}
        print(json.dumps(result), flush=True)
    await store.close()


async def call(store: Any, name: str, arguments: list[Any]) -> Any:
    if name == "append":
        user, item, timestamp, event_id = arguments
        event = NewEvent.create(item, timestamp, event_id, 0.0)
        [view] = await store.append_and_read([AppendAndRead(user, "v1", (event,))])
        return [view.appended[0], [event.item_id for event in view.pending]]
    if name == "put_snapshot":
        user, state = arguments
        [view] = await store.append_and_read([AppendAndRead(user, "v1")])
        put = next_snapshot(user, "v1", view, None, state.encode(), repair=True)
        return await store.put_snapshots([put])
    if name == "history":
        found = await store.history(arguments[0], None, 1000)
        return [] if found is None else [list(event) for event in found.events]
    result = await getattr(store, name)(*arguments)
    return asdict(result) if name == "merge" and result else result


asyncio.run(run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
