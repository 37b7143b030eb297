"""Merges that are interrupted before or after any step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from service.core.errors import StoreUnavailable
from service.core.events import LogView, Merged
from service.store.redis import layout
from service.store.redis.deployments.deployment import Call
from service.store.redis.deployments.node import Node
from service.store.redis.deployments.pools import server_pool
from service.store.redis.deployments.url import parse_url
from service.store.redis.lua_scripts import Script
from service.store.redis.user_merge.merge_protocol import UserMerge
from tests.store.backends import RedisBackend
from tests.store.calls import append, new, put, read
from tests.store.redis.merge_steps import STEPS, append_logs, interrupt_merge, items

pytestmark = pytest.mark.anyio

# A cut is a step, and whether Redis has done it. From these cuts on a log is detached, applied, discarded.
DETACHED, APPLIED, DISCARDED = (0, True), (STEPS.index("apply"), True), (STEPS.index("discard"), True)
CUTS = [(step, done) for step in range(len(STEPS)) for done in (False, True)]


@pytest.mark.parametrize(("step", "done"), CUTS)
async def test_repeated_merge_finishes_an_interrupted_one(backend: RedisBackend, step: int, done: bool) -> None:
    store = await backend.open()
    await append_logs(store)
    await interrupt_merge(backend, "u", "v", step, done)
    # The events are never in both logs. In neither means that they are detached.
    seen = [await items(store, "u"), await items(store, "v")]
    assert sum(log.count("b") for log in seen) <= 1
    merged = await store.merge("u", "v")
    assert merged is not None
    assert (merged.moved, merged.duplicates, merged.conflicts, merged.sequence) == (2, 1, 0, 5)
    assert await items(store, "u") == ["a", "b", "c", "d"]
    assert await read(store, "v") == LogView("", 0, 0, None, ())
    assert await store.merge("u", "v") == Merged(2, 1, 0, 5, repeated=True)
    backend.check()
    await store.close()


@pytest.mark.parametrize(("step", "done"), CUTS)
async def test_finish_merges_finishes_an_interrupted_merge(backend: RedisBackend, step: int, done: bool) -> None:
    store = await backend.open()
    await append_logs(store)
    await interrupt_merge(backend, "u", "v", step, done)
    detached = DETACHED <= (step, done) < DISCARDED
    assert await store.finish_merges() == detached
    assert await store.finish_merges() == 0
    begun = (step, done) >= DETACHED
    assert await items(store, "u") == (["a", "b", "c", "d"] if begun else ["a", "c"])
    assert await items(store, "v") == ([] if begun else ["b", "c", "d"])
    backend.check()
    await store.close()


@pytest.mark.parametrize(("step", "done"), CUTS)
async def test_events_appended_after_the_interruption_are_kept(backend: RedisBackend, step: int, done: bool) -> None:
    store = await backend.open()
    await append_logs(store)
    await interrupt_merge(backend, "u", "v", step, done)
    await append(store, "v", new("e", None, 5.0))
    await append(store, "u", new("f", None, 6.0))
    assert await put(store, "u", 1)
    assert await store.merge("u", "v")
    assert await items(store, "u") == ["a", "b", "c", "d", "e", "f"]
    assert await items(store, "v") == []
    backend.check()
    await store.close()


@pytest.mark.parametrize(("step", "done"), CUTS)
async def test_deleted_users_do_not_come_back(backend: RedisBackend, step: int, done: bool) -> None:
    """Finishing the merge afterwards does not bring deleted events back."""
    store = await backend.open()
    await append_logs(store)
    await interrupt_merge(backend, "u", "v", step, done)
    await store.delete_user("v")
    await store.finish_merges()
    assert await items(store, "v") == []
    assert (await items(store, "u")).count("b") == ((step, done) >= APPLIED)
    assert await store.delete_user("u") > 0
    await store.finish_merges()
    assert [await items(store, user) for user in "uv"] == [[], []]
    backend.check()
    await store.close()


@pytest.mark.parametrize(("step", "done"), CUTS)
async def test_target_is_deleted_before_the_merge_is_finished(backend: RedisBackend, step: int, done: bool) -> None:
    store = await backend.open()
    await append_logs(store)
    await interrupt_merge(backend, "u", "v", step, done)
    removed = await store.delete_user("u")
    await store.finish_merges()
    applied = (step, done) >= APPLIED
    assert removed == (4 if applied else 2)
    # A log that was not applied yet is applied now, as if the merge had come after the deletion.
    detached = DETACHED <= (step, done) < APPLIED
    assert await items(store, "u") == (["b", "c", "d"] if detached else [])
    backend.check()
    await store.close()


@pytest.mark.parametrize(("step", "done"), CUTS)
async def test_both_users_are_merged_again_before_the_merge_is_finished(
    backend: RedisBackend, step: int, done: bool
) -> None:
    """The source's id has a new user, who is merged too."""
    store = await backend.open()
    await append_logs(store)
    await interrupt_merge(backend, "u", "v", step, done)
    await append(store, "v", new("e", None, 5.0))
    assert await store.merge("w", "u")
    assert await store.merge("x", "v")
    await store.finish_merges()
    found = sorted([item for user in "uvwx" for item in await items(store, user)])
    # Both users had this event; one of the two is dropped if they meet in one log.
    assert [item for item in found if item != "c"] == ["a", "b", "d", "e"]
    assert found.count("c") in (1, 2)
    backend.check()
    await store.close()


@pytest.mark.parametrize(("step", "done"), CUTS)
async def test_expired_events_are_not_applied_again(backend: RedisBackend, step: int, done: bool) -> None:
    """Applied events that are removed by age stay removed."""
    store = await backend.open(days=1)
    await append_logs(store)
    await interrupt_merge(backend, "u", "v", step, done)
    backend.make_older("u", 90_000.0)
    applied = (step, done) >= APPLIED
    assert await store.expire(["u"]) == (4 if applied else 2)
    await store.finish_merges()
    assert "b" not in await items(store, "u") or not applied
    await store.merge("u", "v")
    assert await items(store, "u") == ([] if applied else ["b", "c", "d"])
    await store.expire(["u"])
    assert (await store.history("u", None, 1) is None) == applied
    backend.check()
    await store.close()


async def test_finish_merges_goes_on_while_one_server_is_down(backend: RedisBackend) -> None:
    store = await backend.open()
    await append_logs(store)
    await append(store, "w", new("f"))
    await interrupt_merge(backend, "u", "v", *DETACHED)
    await interrupt_merge(backend, "u", "w", *DETACHED)
    down = layout.detached_key("w")

    class OneServerDown(Node):
        async def run(self, script: Script, calls: Sequence[Call], *, load: bool = False) -> list[Any]:
            replies = await super().run(script, calls, load=True)
            return [
                StoreUnavailable("down") if down in call.keys else reply
                for call, reply in zip(calls, replies, strict=True)
            ]

    target = parse_url(backend.url)
    node = OneServerDown(server_pool(target, target.addresses[0], 30.0), "Redis", 30.0)
    with pytest.raises(StoreUnavailable, match="down"):
        await UserMerge(node, 1000).finish_all()
    await node.close()
    assert sorted(await items(store, "u")) == ["a", "b", "c", "d"]
    assert await store.finish_merges() == 1
    backend.check()
    await store.close()
