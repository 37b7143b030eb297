"""Merges beside other operations, paused processes, failovers and full servers."""

from __future__ import annotations

import pytest

from service.core.errors import StoreUnavailable
from service.core.events import AppendAndRead, Merged
from service.store.redis import layout
from service.store.redis.store import open_redis
from service.store.redis.user_merge.merge_protocol import UserMerge
from tests.servers import RedisServer
from tests.store.backends import RedisBackend
from tests.store.calls import append, append_and_read_all, new
from tests.store.redis.merge_steps import STEPS, PausingNode, append_logs, interrupt, items

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("step", range(len(STEPS)))
@pytest.mark.parametrize("outcome", ["deleted", "recreated", "merged away", "expired", "many merges"])
async def test_paused_process_does_not_apply_a_log_twice(backend: RedisBackend, step: int, outcome: str) -> None:
    """Another process finishes, and the record of the merge is removed."""
    store = await backend.open(days=1)
    await append_logs(store)

    async def meanwhile() -> None:
        assert await store.merge("u", "v")
        if outcome == "deleted":
            assert await store.delete_user("u") == 4
        elif outcome == "recreated":
            assert await store.delete_user("u") == 4
            await append(store, "u", new("e"))
            await append(store, "x", new("f"))
            assert await store.merge("u", "x")
        elif outcome == "merged away":
            assert await store.merge("w", "u") == Merged(4, 0, 0, 4)
        elif outcome == "expired":
            backend.make_older("u", 90_000.0)
            assert await store.expire(["u"]) == 4
        else:
            assert await store.delete_event("u", "seq-3")  # "b", which has no event id that would refuse it
            for n in range(33):
                await append(store, f"v{n}", new("a"))
                assert await store.merge("u", f"v{n}")

    node = PausingNode(backend, step, meanwhile)
    await UserMerge(node, 1000).merge("u", "v")
    await node.close()
    await store.finish_merges()
    expected = {"recreated": ["e", "f"], "many merges": ["a", "c", "d", *("a" for _ in range(33))]}
    assert sorted(await items(store, "u")) == sorted(expected.get(outcome, []))
    assert await items(store, "w") == (["a", "b", "c", "d"] if outcome == "merged away" else [])
    backend.check()
    await store.close()


@pytest.mark.parametrize("step", range(len(STEPS)))
async def test_paused_process_does_not_apply_the_log_of_a_deleted_user(backend: RedisBackend, step: int) -> None:
    store = await backend.open()
    await append_logs(store)

    async def meanwhile() -> None:
        assert await store.delete_user("v") == (3 if step <= STEPS.index("discard") else 0)
        await append(store, "v", new("e"))

    node = PausingNode(backend, step, meanwhile)
    await UserMerge(node, 1000).merge("u", "v")
    await node.close()
    await store.finish_merges()
    applied = step > STEPS.index("apply")
    assert "e" in [*await items(store, "u"), *await items(store, "v")]
    assert [item for item in await items(store, "u") if item != "e"] == (
        ["a", "b", "c", "d"] if applied else ["a", "c"]
    )
    backend.check()
    await store.close()


@pytest.mark.parametrize("again", [True, False])
@pytest.mark.parametrize(("step", "done"), [(step, done) for step in range(4) for done in (False, True)])
async def test_interrupted_deletion_of_a_detached_user_is_finished(
    backend: RedisBackend, step: int, done: bool, again: bool
) -> None:
    """Meanwhile a process that has read the detached log is paused."""
    store = await backend.open()
    await append_logs(store)

    async def meanwhile() -> None:
        node = PausingNode(backend, step, interrupt, done)
        with pytest.raises(StoreUnavailable, match="interrupted"):
            await UserMerge(node, 1000).delete_user("v")
        await node.close()
        await (store.delete_user("v") if again else store.finish_merges())

    node = PausingNode(backend, STEPS.index("apply"), meanwhile)
    await UserMerge(node, 1000).merge("u", "v")
    await node.close()
    emptied = again or (step, done) > (0, False)
    assert await items(store, "u") == (["a", "c"] if emptied else ["a", "b", "c", "d"])
    assert await items(store, "v") == []
    assert await store.delete_user("v") == 0
    backend.check()
    await store.close()


async def test_log_that_a_failover_brings_back_is_applied_once(backend: RedisBackend) -> None:
    """Without WAIT the promoted replica may still have the source's log."""
    store = await backend.open()
    await append_logs(store)
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


async def test_full_server_leaves_both_users_unchanged(shared_redis: RedisServer) -> None:
    with RedisServer() as server:
        backend = RedisBackend(server, timeout=30.0)
        store = await open_redis(server.url, 1000, timeout_seconds=30.0)
        await append_logs(store)
        with backend.client() as client:
            client.config_set("maxmemory", 1)
            with pytest.raises(StoreUnavailable, match="memory"):
                await store.merge("u", "v")
            assert [await items(store, user) for user in "uv"] == [["a", "c"], ["b", "c", "d"]]
            backend.check()
            client.config_set("maxmemory", 0)
            assert await store.merge("u", "v") == Merged(2, 1, 0, 5)
        await store.close()


async def test_long_logs_are_merged(backend: RedisBackend) -> None:
    store = await backend.open(keep=100_000)
    for user in "uv":
        for start in range(0, 6000, 1000):
            await append(store, user, *(new(f"{user}{n}", None, float(n)) for n in range(start, start + 1000)))
    assert await store.merge("u", "v") == Merged(6000, 0, 0, 17_999)
    assert await items(store, "u") == [f"{user}{n}" for n in range(6000) for user in "uv"]
    backend.check()
    await store.close()
