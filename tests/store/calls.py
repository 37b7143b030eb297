"""Short forms of the store's calls."""

from __future__ import annotations

from collections.abc import Sequence

from service.core.errors import StoreUnavailable
from service.core.events import Event, MemoPut, NewEvent, Snapshot, Visit
from service.core.store_port import Store

V = "model-1"


def new(item: str, event_id: str | None = None, timestamp: float = 1.5) -> NewEvent:
    return NewEvent.create(item, timestamp, event_id, now=0.0)


def sequences(events: Sequence[Event]) -> list[int]:
    return [event.sequence for event in events]


async def visit_all(store: Store, visits: Sequence[Visit]) -> list[Snapshot]:
    """One round trip of which nothing may fail: the first failure is raised."""
    snapshots: list[Snapshot] = []
    for found in await store.visit(visits):
        if isinstance(found, StoreUnavailable):
            raise found
        snapshots.append(found)
    return snapshots


async def append(store: Store, user_id: str, *events: NewEvent, version: str | None = V) -> Snapshot:
    [snapshot] = await visit_all(store, [Visit(user_id, version, events)])
    return snapshot


async def read(store: Store, user_id: str, version: str | None = V) -> Snapshot:
    [snapshot] = await visit_all(store, [Visit(user_id, version)])
    return snapshot


async def put(
    store: Store,
    user_id: str,
    applied: int,
    blob: bytes = b"memo",
    *,
    version: str = V,
    generation: str | None = None,
    repair: bool = False,
) -> bool:
    if generation is None:
        generation = (await read(store, user_id)).generation
    [stored] = await store.put_memos([MemoPut(user_id, generation, version, applied, blob, repair)])
    return stored
