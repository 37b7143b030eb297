"""Round trips of new items' vectors are measured."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable

import pytest
from prometheus_client import CollectorRegistry

from service.core.errors import StoreUnavailable
from service.core.new_items.vector_store import START, ItemVectorStore
from service.observability.instrumented_item_vectors import InstrumentedItemVectors
from service.observability.instrumented_store import StoreMetrics
from tests.core.memory_item_vectors import MemoryItemVectors

pytestmark = pytest.mark.anyio

CALLS: dict[str, Callable[[ItemVectorStore], Awaitable[object]]] = {
    "append": lambda store: store.append("v1", [("a", b"one")]),
    "read": lambda store: store.read("v1", START, 10),
    "versions": lambda store: store.versions(),
    "forget": lambda store: store.forget("v1"),
}


def test_calls_cover_the_store() -> None:
    methods = {name for name, _ in inspect.getmembers(ItemVectorStore, inspect.isfunction) if name[0] != "_"}
    assert set(CALLS) == methods


@pytest.mark.parametrize("operation", CALLS)
async def test_call_is_measured_and_its_failure_counted(operation: str) -> None:
    registry, store = CollectorRegistry(), MemoryItemVectors()
    measured = InstrumentedItemVectors(store, StoreMetrics(registry))
    await CALLS[operation](measured)
    labels = {"operation": f"item_vectors_{operation}"}
    assert registry.get_sample_value("recblr_store_seconds_count", labels) == 1
    store.down = True
    with pytest.raises(StoreUnavailable):
        await CALLS[operation](measured)
    assert registry.get_sample_value("recblr_store_seconds_count", labels) == 2
    assert registry.get_sample_value("recblr_store_errors_total", labels) == 1
