"""Every call of a store is measured as one round trip."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from service.core.attribution.credits import CounterPage
from service.core.errors import StoreUnavailable
from service.core.events import AppendAndRead, NewEvent, SnapshotPut
from service.core.ports import Store
from service.observability.instrumented_store import InstrumentedStore, StoreMetrics
from tests.core.memory_store import MemoryStore

Call = Callable[[Store], Awaitable[object]]

EVENT = NewEvent.create("1", None, None, now=1.0)
CALLS: dict[str, Call] = {
    "append_and_read": lambda store: store.append_and_read([AppendAndRead("u", None, (EVENT,))]),
    "put_snapshots": lambda store: store.put_snapshots([SnapshotPut("u", "g", "v1", 1, b"")]),
    "history": lambda store: store.history("u", None, 10),
    "delete_event": lambda store: store.delete_event("u", "seq-1"),
    "delete_user": lambda store: store.delete_user("u"),
    "merge": lambda store: store.merge("u", "v"),
    "finish_merges": lambda store: store.finish_merges(),
    "expire": lambda store: store.expire(["u"]),
    "users": lambda store: store.users("", 10),
    "attribution_counters": lambda store: store.attribution_counters([CounterPage(0)]),
    "records": lambda store: store.records(),
    "compare_and_set": lambda store: store.compare_and_set("name", None, "text"),
    "ping": lambda store: store.ping(),
    "memory_used": lambda store: store.memory_used(),
}


class UnavailableStore(MemoryStore):
    """Store whose every method raises `StoreUnavailable`."""

    def __getattribute__(self, name: str) -> Any:
        if name not in CALLS:
            return super().__getattribute__(name)

        async def fail(*_: object) -> None:
            raise StoreUnavailable("the event log does not answer")

        return fail


def count(registry: CollectorRegistry, name: str, operation: str) -> float | None:
    return registry.get_sample_value(f"recblr_store_{name}", {"operation": operation})


def test_calls_cover_the_store() -> None:
    methods = {name for name, _ in inspect.getmembers(Store, inspect.isfunction) if not name.startswith("_")}
    assert set(CALLS) == methods - {"close"}


@pytest.mark.parametrize("operation", CALLS)
def test_call_is_passed_on_and_measured(operation: str) -> None:
    registry = CollectorRegistry()
    measured = asyncio.run(_call(operation, InstrumentedStore(MemoryStore(), StoreMetrics(registry))))
    assert type(measured) is type(asyncio.run(_call(operation, MemoryStore())))
    assert count(registry, "seconds_count", operation) == 1
    assert count(registry, "errors_total", operation) is None


@pytest.mark.parametrize("operation", CALLS)
def test_failed_call_is_counted(operation: str) -> None:
    registry = CollectorRegistry()
    with pytest.raises(StoreUnavailable):
        asyncio.run(_call(operation, InstrumentedStore(UnavailableStore(), StoreMetrics(registry))))
    assert count(registry, "seconds_count", operation) == 1
    assert count(registry, "errors_total", operation) == 1


def test_append_that_fails_for_one_user_is_counted() -> None:
    registry = CollectorRegistry()
    store = MemoryStore()
    store.down = True  # every request gets StoreUnavailable as its result
    [view] = asyncio.run(InstrumentedStore(store, StoreMetrics(registry)).append_and_read([AppendAndRead("u", None)]))
    assert isinstance(view, StoreUnavailable)
    assert count(registry, "errors_total", "append_and_read") == 1


async def _call(operation: str, store: Store) -> object:
    return await CALLS[operation](store)
