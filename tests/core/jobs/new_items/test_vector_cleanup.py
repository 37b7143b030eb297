"""Vectors of models that are gone are deleted."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from service.core.errors import BundleRefusedError
from service.core.jobs.new_items.vector_cleanup import VectorCleanup
from tests.core.memory_item_vectors import MemoryItemVectors

pytestmark = pytest.mark.anyio


async def store_of(*versions: str) -> MemoryItemVectors:
    store = MemoryItemVectors()
    for version in versions:
        await store.append(version, [("a", b"vector")])
    return store


async def test_list_is_deleted_if_its_version_is_missing_twice() -> None:
    store, registry = await store_of("gone", "published", "loaded", "away"), ["published"]

    async def loadable() -> Collection[str]:
        return registry

    cleanup = VectorCleanup(store, loadable, lambda: ["loaded"])
    await cleanup.step()
    assert await store.versions() == ["away", "gone", "loaded", "published"]
    registry.append("away")
    await cleanup.step()
    assert await store.versions() == ["away", "loaded", "published"]
    registry.remove("away")
    await cleanup.step()
    assert await store.versions() == ["away", "loaded", "published"]


async def test_nothing_is_deleted_while_the_registry_cannot_be_read() -> None:
    store = await store_of("v1")

    async def loadable() -> Collection[str]:
        raise BundleRefusedError("the bundle folder is empty")

    cleanup = VectorCleanup(store, loadable, list)
    for _ in range(3):
        await cleanup.step()
    assert await store.versions() == ["v1"]
