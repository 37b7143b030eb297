"""Every call of the catalogue's storage is measured as one round trip."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable

import pytest
from prometheus_client import CollectorRegistry

from service.core.catalogue_store import CATALOGUE_SHARDS, CatalogueStore, ItemWrite, ShardPosition, catalogue_shard
from service.core.errors import StoreUnavailable
from service.observability.instrumented_catalogue import InstrumentedCatalogue
from service.observability.instrumented_store import StoreMetrics
from tests.core.memory_catalogue import MemoryCatalogue

pytestmark = pytest.mark.anyio

SHARD = catalogue_shard("a")
CALLS: dict[str, Callable[[CatalogueStore], Awaitable[object]]] = {
    "write_items": lambda store: store.write_items([ItemWrite("a", b"one")]),
    "read_items": lambda store: store.read_items(["a"]),
    "positions": lambda store: store.positions(),
    "position_at": lambda store: store.position_at(SHARD, 1),
    "changes": lambda store: store.changes(SHARD, ShardPosition(0, ""), 10),
    "scan": lambda store: store.scan(SHARD, "", 10),
    "definitions": lambda store: store.definitions(),
    "set_attribute": lambda store: store.set_attribute("a", None, "number"),
    "set_filter": lambda store: store.set_filter("a", None, "true"),
}
PARTIAL = ("write_items", "positions")


def test_calls_cover_the_store() -> None:
    methods = {name for name, _ in inspect.getmembers(CatalogueStore, inspect.isfunction) if name[0] != "_"}
    assert set(CALLS) == methods


@pytest.mark.parametrize("operation", CALLS)
async def test_call_is_measured_and_its_result_returned(operation: str) -> None:
    registry, store = CollectorRegistry(), MemoryCatalogue()
    instrumented = InstrumentedCatalogue(store, StoreMetrics(registry))
    found = await CALLS[operation](instrumented)
    assert type(found) is type(await CALLS[operation](store))
    labels = {"operation": f"catalogue_{operation}"}
    assert registry.get_sample_value("recblr_store_seconds_count", labels) == 1
    assert not registry.get_sample_value("recblr_store_errors_total", labels)


@pytest.mark.parametrize("operation", CALLS)
async def test_failed_call_is_counted(operation: str) -> None:
    registry, store = CollectorRegistry(), MemoryCatalogue()
    store.down = {*range(CATALOGUE_SHARDS + 1)}
    instrumented = InstrumentedCatalogue(store, StoreMetrics(registry))
    if operation in PARTIAL:
        await CALLS[operation](instrumented)
    else:
        with pytest.raises(StoreUnavailable):
            await CALLS[operation](instrumented)
    labels = {"operation": f"catalogue_{operation}"}
    assert registry.get_sample_value("recblr_store_errors_total", labels) == 1
