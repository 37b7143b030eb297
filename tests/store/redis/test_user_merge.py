"""Merges on Redis that are cut off: between any two of their steps, and after a step whose answer is lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from service.core.errors import StoreUnavailable
from service.core.events import AppendAndRead, LogView, Merged
from service.core.ports import Store
from service.store.redis import layout
from service.store.redis.deployment import Call
from service.store.redis.lua_scripts import Script
from service.store.redis.node import Node
from service.store.redis.pools import server_pool
from service.store.redis.store import open_redis
from service.store.redis.url import parse_url
from service.store.redis.user_merge import UserMerge
from tests.servers import RedisServer
from tests.store.backends import RedisBackend
from tests.store.calls import append, append_and_read_all, new, put, read

pytestmark = pytest.mark.anyio

# "u" lies in another shard than "v", "w" and "x" in others again.
STEPS = ("park", "open_pass", "read", "merge", "unpark", "settle")
PARKED, BROUGHT, UNPARKED = (0, True), (STEPS.index("merge"), True), (STEPS.index("unpark"), True)
CUTS = [(step, lost) for step in range(len(STEPS)) for lost in (False, True)]


@pytest.fixture
def backend(shared_redis: RedisServer) -> RedisBackend:
    backend = RedisBackend(shared_redis, timeout=30.0)
    with backend.client() as client:
        client.flushall()
    return backend


class Steps:
    """The scripts of one caller, which does something else before a step, or after it."""

    def __init__(
        self, backend: RedisBackend, step: int, act: Callable[[], Awaitable[None]], after: bool = False
    ) -> None:
        target = parse_url(backend.url)
        self._node = Node(server_pool(target, target.addresses[0], 30.0), "Redis", 30.0)
        self._left = step
        self._act = act
        self._after = after

    async def run(self, script: Script, calls: Sequence[Call], *, load: bool = False) -> list[Any]:
        self._left -= 1
        if self._left == -1 and not self._after:
            await self._act()
        replies = await self._node.run(script, calls, load=True)
        if self._left == -1 and self._after:
            await self._act()
        return replies

    async def close(self) -> None:
        await self._node.close()


async def cut_off() -> None:
    raise StoreUnavailable("cut off")


async def merge_cut(backend: RedisBackend, user_id: str, source: str, step: int, lost: bool) -> None:
    """Begin a merge and stop at a step: before it, or with `lost` after Redis has done it."""
    steps = Steps(backend, step, cut_off, lost)
    with pytest.raises(StoreUnavailable, match="cut off"):
        await UserMerge(steps, 1000).merge(user_id, source)
    await steps.close()


async def begin(store: Store) -> None:
    await append(store, "u", new("a", None, 1.0), new("c", "x", 3.0))
    await append(store, "v", new("b", None, 2.0), new("c", "x", 3.0), new("d", "y", 4.0))


async def items(store: Store, user_id: str) -> list[str]:
    return [event.item_id for event in (await read(store, user_id)).pending]


@pytest.mark.parametrize(("step", "lost"), CUTS)
async def test_a_repetition_finishes(backend: RedisBackend, step: int, lost: bool) -> None:
    store = await backend.open()
    await begin(store)
    await merge_cut(backend, "u", "v", step, lost)
    # Never in both logs: where the events are in neither, they are on their way.
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


@pytest.mark.parametrize(("step", "lost"), CUTS)
async def test_what_was_cut_off_is_finished_by_whoever_comes_by(backend: RedisBackend, step: int, lost: bool) -> None:
    store = await backend.open()
    await begin(store)
    await merge_cut(backend, "u", "v", step, lost)
    parked = PARKED <= (step, lost) < UNPARKED
    assert await store.finish_merges() == parked
    assert await store.finish_merges() == 0
    begun = (step, lost) >= PARKED
    assert await items(store, "u") == (["a", "b", "c", "d"] if begun else ["a", "c"])
    assert await items(store, "v") == ([] if begun else ["b", "c", "d"])
    backend.check()
    await store.close()


@pytest.mark.parametrize(("step", "lost"), CUTS)
async def test_events_that_come_meanwhile_are_not_lost(backend: RedisBackend, step: int, lost: bool) -> None:
    store = await backend.open()
    await begin(store)
    await merge_cut(backend, "u", "v", step, lost)
    await append(store, "v", new("e", None, 5.0))
    await append(store, "u", new("f", None, 6.0))
    assert await put(store, "u", 1)
    assert await store.merge("u", "v")
    assert await items(store, "u") == ["a", "b", "c", "d", "e", "f"]
    assert await items(store, "v") == []
    backend.check()
    await store.close()


@pytest.mark.parametrize(("step", "lost"), CUTS)
async def test_deletion_of_either_leaves_nothing(backend: RedisBackend, step: int, lost: bool) -> None:
    """Nothing that was deleted comes back when the merge is finished afterwards."""
    store = await backend.open()
    await begin(store)
    await merge_cut(backend, "u", "v", step, lost)
    await store.delete_user("v")
    await store.finish_merges()
    assert await items(store, "v") == []
    assert (await items(store, "u")).count("b") == ((step, lost) >= BROUGHT)
    assert await store.delete_user("u") > 0
    await store.finish_merges()
    assert [await items(store, user) for user in "uv"] == [[], []]
    backend.check()
    await store.close()


@pytest.mark.parametrize(("step", "lost"), CUTS)
async def test_the_target_is_deleted_before_the_end(backend: RedisBackend, step: int, lost: bool) -> None:
    store = await backend.open()
    await begin(store)
    await merge_cut(backend, "u", "v", step, lost)
    removed = await store.delete_user("u")
    await store.finish_merges()
    came_in = (step, lost) >= BROUGHT
    assert removed == (4 if came_in else 2)
    # What had not come in yet comes in now, as if the merge had come after the deletion.
    parked = PARKED <= (step, lost) < BROUGHT
    assert await items(store, "u") == (["b", "c", "d"] if parked else [])
    backend.check()
    await store.close()


@pytest.mark.parametrize(("step", "lost"), CUTS)
async def test_either_goes_on_into_another(backend: RedisBackend, step: int, lost: bool) -> None:
    """The target is merged away, and a new user of the source's name elsewhere, before the merge is finished."""
    store = await backend.open()
    await begin(store)
    await merge_cut(backend, "u", "v", step, lost)
    await append(store, "v", new("e", None, 5.0))
    assert await store.merge("w", "u")
    assert await store.merge("x", "v")
    await store.finish_merges()
    found = sorted([item for user in "uvwx" for item in await items(store, user)])
    # The duplicate was one before the merge began, and is dropped where its twin is.
    assert [item for item in found if item != "c"] == ["a", "b", "d", "e"]
    assert found.count("c") in (1, 2)
    backend.check()
    await store.close()


@pytest.mark.parametrize(("step", "lost"), CUTS)
async def test_the_target_is_too_old_before_the_end(backend: RedisBackend, step: int, lost: bool) -> None:
    """What has come in and is removed by age does not come in again."""
    store = await backend.open(days=1)
    await begin(store)
    await merge_cut(backend, "u", "v", step, lost)
    backend.make_older("u", 90_000.0)
    came_in = (step, lost) >= BROUGHT
    assert await store.expire(["u"]) == (4 if came_in else 2)
    await store.finish_merges()
    assert "b" not in await items(store, "u") or not came_in
    await store.merge("u", "v")
    assert await items(store, "u") == ([] if came_in else ["b", "c", "d"])
    await store.expire(["u"])
    assert (await store.history("u", None, 1) is None) == came_in
    backend.check()
    await store.close()


@pytest.mark.parametrize("step", range(len(STEPS)))
@pytest.mark.parametrize("fate", ["deleted", "begun anew", "merged away", "too old", "one of many"])
async def test_who_stood_still_brings_nothing_again(backend: RedisBackend, step: int, fate: str) -> None:
    """One caller stands still before a step; another finishes, and the target's record of that is removed."""
    store = await backend.open(days=1)
    await begin(store)

    async def meanwhile() -> None:
        assert await store.merge("u", "v")
        if fate == "deleted":
            assert await store.delete_user("u") == 4
        elif fate == "begun anew":
            assert await store.delete_user("u") == 4
            await append(store, "u", new("e"))
            await append(store, "x", new("f"))
            assert await store.merge("u", "x")
        elif fate == "merged away":
            assert await store.merge("w", "u") == Merged(4, 0, 0, 4)
        elif fate == "too old":
            backend.make_older("u", 90_000.0)
            assert await store.expire(["u"]) == 4
        else:
            assert await store.delete_event("u", "seq-3")  # "b", which its id does not keep out
            for n in range(33):
                await append(store, f"v{n}", new("a"))
                assert await store.merge("u", f"v{n}")

    steps = Steps(backend, step, meanwhile)
    await UserMerge(steps, 1000).merge("u", "v")
    await steps.close()
    await store.finish_merges()
    expected = {"begun anew": ["e", "f"], "one of many": ["a", "c", "d", *("a" for _ in range(33))]}
    assert sorted(await items(store, "u")) == sorted(expected.get(fate, []))
    assert await items(store, "w") == (["a", "b", "c", "d"] if fate == "merged away" else [])
    backend.check()
    await store.close()


@pytest.mark.parametrize("step", range(len(STEPS)))
async def test_who_stood_still_brings_nothing_of_a_source_that_was_deleted(backend: RedisBackend, step: int) -> None:
    store = await backend.open()
    await begin(store)

    async def meanwhile() -> None:
        assert await store.delete_user("v") == (3 if step <= STEPS.index("unpark") else 0)
        await append(store, "v", new("e"))

    steps = Steps(backend, step, meanwhile)
    await UserMerge(steps, 1000).merge("u", "v")
    await steps.close()
    await store.finish_merges()
    came_in = step > STEPS.index("merge")
    assert "e" in [*await items(store, "u"), *await items(store, "v")]
    assert [item for item in await items(store, "u") if item != "e"] == (
        ["a", "b", "c", "d"] if came_in else ["a", "c"]
    )
    backend.check()
    await store.close()


@pytest.mark.parametrize("again", [True, False])
@pytest.mark.parametrize(("step", "lost"), [(step, lost) for step in range(4) for lost in (False, True)])
async def test_a_deletion_that_is_cut_off_is_finished(
    backend: RedisBackend, step: int, lost: bool, again: bool
) -> None:
    """Of a source whose log is parked, while one who has read that stands still."""
    store = await backend.open()
    await begin(store)

    async def meanwhile() -> None:
        steps = Steps(backend, step, cut_off, lost)
        with pytest.raises(StoreUnavailable, match="cut off"):
            await UserMerge(steps, 1000).delete_user("v")
        await steps.close()
        await (store.delete_user("v") if again else store.finish_merges())

    steps = Steps(backend, STEPS.index("merge"), meanwhile)
    await UserMerge(steps, 1000).merge("u", "v")
    await steps.close()
    emptied = again or (step, lost) > (0, False)
    assert await items(store, "u") == (["a", "c"] if emptied else ["a", "b", "c", "d"])
    assert await items(store, "v") == []
    assert await store.delete_user("v") == 0
    backend.check()
    await store.close()


async def test_the_merges_of_other_servers_are_finished_while_one_is_down(backend: RedisBackend) -> None:
    store = await backend.open()
    await begin(store)
    await append(store, "w", new("f"))
    await merge_cut(backend, "u", "v", *PARKED)
    await merge_cut(backend, "u", "w", *PARKED)
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


async def test_a_source_that_a_failover_brings_back_comes_in_once(backend: RedisBackend) -> None:
    """Without WAIT a replica may lack what its primary had done; then the source's log stands there again."""
    store = await backend.open()
    await begin(store)
    keys = [*layout.keys("v"), layout.detached_key("v")]
    with backend.client() as client:
        before = {key: client.dump(key) for key in keys}
        assert await store.merge("u", "v")
        for key, value in before.items():
            if value is not None:
                client.restore(key, 0, value, replace=True)
    [view] = await append_and_read_all(store, [AppendAndRead("v", None, (new("e", None, 5.0),))])
    assert len(view.pending) == 4
    assert await store.merge("u", "v") == Merged(1, 0, 0, 6)
    assert await items(store, "u") == ["a", "b", "c", "d", "e"]
    backend.check()
    await store.close()


async def test_a_full_instance_leaves_both_as_they_were(shared_redis: RedisServer) -> None:
    with RedisServer() as server:
        backend = RedisBackend(server, timeout=30.0)
        store = await open_redis(server.url, 1000, timeout_seconds=30.0)
        await begin(store)
        with backend.client() as client:
            client.config_set("maxmemory", 1)
            with pytest.raises(StoreUnavailable, match="memory"):
                await store.merge("u", "v")
            assert [await items(store, user) for user in "uv"] == [["a", "c"], ["b", "c", "d"]]
            backend.check()
            client.config_set("maxmemory", 0)
            assert await store.merge("u", "v") == Merged(2, 1, 0, 5)
        await store.close()


async def test_a_long_log(backend: RedisBackend) -> None:
    store = await backend.open(keep=100_000)
    for user in "uv":
        for start in range(0, 6000, 1000):
            await append(store, user, *(new(f"{user}{n}", None, float(n)) for n in range(start, start + 1000)))
    assert await store.merge("u", "v") == Merged(6000, 0, 0, 17_999)
    assert await items(store, "u") == [f"{user}{n}" for n in range(6000) for user in "uv"]
    backend.check()
    await store.close()
