"""Merges that an earlier release began, and its access rights."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from service.core.errors import StoreUnavailable
from service.core.events import Merged
from service.store.redis import layout
from service.store.redis.lua_scripts import Script
from service.store.redis.store import open_redis
from tests.store.backends import RedisBackend
from tests.store.calls import append, new
from tests.store.redis.merge_steps import append_logs, items
from tests.store.redis.test_acl import PASSWORD, USER, acl_rule, restrict

pytestmark = pytest.mark.anyio

# What the first release's first step of a merge did: the record has the log and the fingerprints.
_DETACH = (
    Script("lib/format.lua", "lib/head.lua", "lib/event_id.lua", "lib/unpack_entry.lua", "lib/record.lua").source
    + """
local sequence, _, generation = unpack_head(redis.call('HGET', KEYS[1], 'head'))
local entries, fingerprints = redis.call('LRANGE', KEYS[2], 0, -1), {}
for i, entry in ipairs(entries) do
  local _, _, _, event_id, append_id = unpack_entry(entry)
  local known = redis.call('HGET', KEYS[1], 'e:' .. event_id)
  fingerprints[i] = known and select(2, unpack_event_id(known)) or ''
  redis.call('XDEL', KEYS[3], append_id)
end
local kept = ARGV[3] == '1' and entries
local record = { ARGV[2], generation, sequence, kept, kept and fingerprints or {} }
redis.call('HSET', KEYS[4], ARGV[1], pack_record(record))
redis.call('DEL', KEYS[1], KEYS[2])
"""
)


def detach_as_before(client: Any, source: str, target: str, *, deleted: bool = False) -> None:
    keys = (*layout.keys(source), layout.detached_key(source))
    client.eval(_DETACH, len(keys), *keys, source, target, 0 if deleted else 1)


@pytest.mark.parametrize("again", [True, False])
async def test_merge_that_an_earlier_release_began_is_finished(backend: RedisBackend, again: bool) -> None:
    store = await backend.open()
    await append_logs(store)
    with backend.client() as client:
        detach_as_before(client, "v", "u")
    if again:
        assert await store.merge("u", "v") == Merged(2, 1, 0, 5)
    else:
        assert await store.finish_merges() == 1
    assert await items(store, "u") == ["a", "b", "c", "d"]
    duplicate = await append(store, "u", new("d", "y", 4.0))
    assert duplicate.appended[0] == (5, True)
    backend.check()
    await store.close()


async def test_long_log_that_an_earlier_release_detached_is_merged(backend: RedisBackend) -> None:
    store = await backend.open()
    for start in range(0, 1000, 500):
        await append(store, "v", *(new(f"{n}", f"{n}", float(n)) for n in range(start, start + 500)))
    with backend.client() as client:
        detach_as_before(client, "v", "u")
    assert await store.merge("u", "v") == Merged(1000, 0, 0, 1000)
    assert await items(store, "u") == [f"{n}" for n in range(1000)]
    backend.check()
    await store.close()


@pytest.mark.parametrize("deleted", [True, False])
async def test_user_whom_an_earlier_release_detached_can_be_deleted(backend: RedisBackend, deleted: bool) -> None:
    store = await backend.open()
    await append_logs(store)
    with backend.client() as client:
        detach_as_before(client, "v", "u", deleted=deleted)
    assert await store.delete_user("v") == (0 if deleted else 3)
    assert await store.finish_merges() == 0
    assert await items(store, "u") == ["a", "c"]
    backend.check()
    await store.close()


async def test_rights_of_an_earlier_release_refuse_a_merge_as_a_whole(backend: RedisBackend) -> None:
    restrict(backend.server.port)
    with Redis(port=backend.server.port) as client:
        client.execute_command("ACL", "SETUSER", USER, "-rename")
    assert "+rename" in acl_rule()
    store = await open_redis(f"redis://{USER}:{PASSWORD}@127.0.0.1:{backend.server.port}/0", 1000)
    await append_logs(store)
    before = backend.contents()
    with pytest.raises(StoreUnavailable) as refused:
        await store.merge("u", "v")
    assert "set its rights as in docs/redis.md" in refused.value.for_log
    assert backend.contents() == before
    await store.close()
