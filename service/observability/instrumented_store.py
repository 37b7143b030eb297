"""Any store, measured: each call is one round trip."""

from __future__ import annotations

from collections.abc import Sequence

from service.core.errors import StoreUnavailable
from service.core.events import AppendAndRead, History, LogView, Merged, SnapshotPut
from service.core.ports import Store
from service.observability.metrics import PrometheusMeter


class InstrumentedStore:
    """Keeps the contract of `core.ports.Store` by handing every call on."""

    def __init__(self, store: Store, meter: PrometheusMeter) -> None:
        self._store = store
        self._meter = meter

    async def append_and_read(self, requests: Sequence[AppendAndRead]) -> list[LogView | StoreUnavailable]:
        """See `Store`."""
        with self._meter.store_round_trip("visit"):
            views = await self._store.append_and_read(requests)
        if any(isinstance(view, StoreUnavailable) for view in views):
            self._meter.store_failed("visit")
        return views

    async def put_snapshots(self, puts: Sequence[SnapshotPut]) -> list[bool]:
        """See `Store`."""
        with self._meter.store_round_trip("put_snapshots"):
            return await self._store.put_snapshots(puts)

    async def history(self, user_id: str, before: int | None, limit: int) -> History | None:
        """See `Store`."""
        with self._meter.store_round_trip("history"):
            return await self._store.history(user_id, before, limit)

    async def delete_event(self, user_id: str, event_id: str) -> bool:
        """See `Store`."""
        with self._meter.store_round_trip("delete_event"):
            return await self._store.delete_event(user_id, event_id)

    async def delete_user(self, user_id: str) -> int:
        """See `Store`."""
        with self._meter.store_round_trip("delete_user"):
            return await self._store.delete_user(user_id)

    async def merge(self, user_id: str, from_user_id: str) -> Merged | None:
        """See `Store`."""
        with self._meter.store_round_trip("merge"):
            return await self._store.merge(user_id, from_user_id)

    async def finish_merges(self) -> int:
        """See `Store`."""
        with self._meter.store_round_trip("finish_merges"):
            return await self._store.finish_merges()

    async def expire(self, user_ids: Sequence[str]) -> int:
        """See `Store`."""
        with self._meter.store_round_trip("expire"):
            return await self._store.expire(user_ids)

    async def users(self, cursor: str, limit: int) -> tuple[list[str], str]:
        """See `Store`."""
        with self._meter.store_round_trip("users"):
            return await self._store.users(cursor, limit)

    async def records(self) -> dict[str, str]:
        """See `Store`."""
        with self._meter.store_round_trip("notes"):
            return await self._store.records()

    async def compare_and_set(self, name: str, expected: str | None, text: str | None) -> bool:
        """See `Store`."""
        with self._meter.store_round_trip("compare_and_set"):
            return await self._store.compare_and_set(name, expected, text)

    async def ping(self) -> None:
        """See `Store`."""
        with self._meter.store_round_trip("ping"):
            await self._store.ping()

    async def close(self) -> None:
        """See `Store`."""
        await self._store.close()
