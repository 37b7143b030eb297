"""Shorthands for calls of a store."""

from __future__ import annotations

from collections.abc import Sequence

from service.core.errors import StoreUnavailable
from service.core.events import AppendAndRead, Event, LogView, NewEvent, SnapshotPut
from service.core.ports import Store

V = "model-1"


def new(item: str, event_id: str | None = None, timestamp: float = 1.5) -> NewEvent:
    return NewEvent.create(item, timestamp, event_id, now=0.0)


def sequences(events: Sequence[Event]) -> list[int]:
    return [event.sequence for event in events]


async def append_and_read_all(store: Store, requests: Sequence[AppendAndRead]) -> list[LogView]:
    """Run one batch and raise the first failure."""
    views: list[LogView] = []
    for found in await store.append_and_read(requests):
        if isinstance(found, StoreUnavailable):
            raise found
        views.append(found)
    return views


async def append(store: Store, user_id: str, *events: NewEvent, version: str | None = V) -> LogView:
    [view] = await append_and_read_all(store, [AppendAndRead(user_id, version, events)])
    return view


async def read(store: Store, user_id: str, version: str | None = V) -> LogView:
    [view] = await append_and_read_all(store, [AppendAndRead(user_id, version)])
    return view


async def put(
    store: Store,
    user_id: str,
    applied: int,
    blob: bytes = b"snapshot",
    *,
    version: str = V,
    generation: str | None = None,
    repair: bool = False,
) -> bool:
    if generation is None:
        generation = (await read(store, user_id)).generation
    [stored] = await store.put_snapshots([SnapshotPut(user_id, generation, version, applied, blob, repair)])
    return stored
