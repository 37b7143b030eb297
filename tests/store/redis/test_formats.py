"""Stored values of an unknown format are refused."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from service.core.errors import StoreUnavailable
from service.core.events import AppendAndRead, LogView
from service.core.ports import Store
from service.store.redis.layout import detached_key, keys
from tests.store.backends import RedisBackend
from tests.store.calls import V, append, new, put, read

pytestmark = pytest.mark.anyio

USER, LOG, _ = keys("u")
OPERATIONS: dict[str, Callable[[Store], Awaitable[Any]]] = {
    "append": lambda store: append(store, "u", new("b", "y")),
    "duplicate": lambda store: append(store, "u", new("a", "x")),
    "put_snapshot": lambda store: put(store, "u", 2, generation="any"),
    "history": lambda store: store.history("u", None, 10),
    "delete_event": lambda store: store.delete_event("u", "x"),
    "expire": lambda store: store.expire(["u"]),
    "merge into": lambda store: store.merge("u", "v"),
    "merge from": lambda store: store.merge("v", "u"),
}


@pytest.fixture
async def store(backend: RedisBackend) -> AsyncIterator[Store]:
    """A store in which "u" has every kind of stored value."""
    store = await backend.open(days=1)
    await append(store, "w", new("a", "w", 0.5))
    await append(store, "u", new("a", "x"), new("a"))
    await append(store, "v", new("a", "z", 9.0))
    assert await store.merge("u", "w")
    assert await put(store, "u", 2)
    yield store
    await store.close()


def change_format(client: Any, key: str, field: str) -> None:
    """Give the field's value another format byte."""
    value = client.hget(key, field)
    assert value[0] == 1
    client.hset(key, field, b"\2" + value[1:])


async def refused(work: Awaitable[Any]) -> str:
    """The operator's message of the error that `work` raises."""
    with pytest.raises(StoreUnavailable) as error:
        await work
    assert error.value.message == "the event log has data of another release"
    return error.value.for_log


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_user_of_another_format_is_refused_and_unchanged(
    backend: RedisBackend, store: Store, operation: str
) -> None:
    with backend.client() as client:
        change_format(client, USER, "head")
    before = backend.fields("u")
    log = await refused(OPERATIONS[operation](store))
    assert log == (
        f"Redis at 127.0.0.1:{backend.server.port}: a user has format 2, which this release cannot read;"
        " run the release that wrote it"
    )
    assert backend.fields("u") == before


@pytest.mark.parametrize(
    ("field", "operation", "kind"),
    [
        ("e:x", "duplicate", "an event id"),
        ("e:x", "delete_event", "an event id"),
        ("v", "delete_event", "a list of a user's snapshots"),
        ("merges", "merge into", "a list of merges"),
        ("merges", "merge from", "a list of merges"),
    ],
)
async def test_field_of_another_format_is_refused(
    backend: RedisBackend, store: Store, field: str, operation: str, kind: str
) -> None:
    with backend.client() as client:
        change_format(client, USER, field)
    before = backend.contents() if operation != "merge into" else ""
    assert f": {kind} has format 2," in await refused(OPERATIONS[operation](store))
    # A merge into the user has detached the other's log by then, and can be finished by the release that knows.
    assert operation == "merge into" or backend.contents() == before


@pytest.mark.parametrize("operation", ["append", "history", "delete_event"])
async def test_log_entry_of_another_format_is_refused(backend: RedisBackend, store: Store, operation: str) -> None:
    with backend.client() as client:
        client.hdel(USER, f"a:{V}", f"s:{V}")
        for index, entry in enumerate(client.lrange(LOG, 0, -1)):
            client.lset(LOG, index, b"\2" + entry[1:])
    assert "an entry of an event log has format 2," in await refused(OPERATIONS[operation](store))


async def test_detached_log_of_another_format_is_refused(backend: RedisBackend, store: Store) -> None:
    with backend.client() as client:
        client.hset(detached_key("v"), "v", b"\3 another layout")
        assert ": a detached log has format 3," in await refused(store.merge("u", "v"))
        assert ": a detached log has format 3," in await refused(store.finish_merges())
        assert client.hget(detached_key("v"), "v") == b"\3 another layout"


async def test_other_users_of_a_batch_are_served(backend: RedisBackend, store: Store) -> None:
    with backend.client() as client:
        change_format(client, USER, "head")
        client.lset(keys("v")[1], 0, b"\0" * 40)
    found = await store.append_and_read([AppendAndRead("u", V), AppendAndRead("v", V), AppendAndRead("new", V)])
    assert [type(each) for each in found] == [StoreUnavailable, StoreUnavailable, LogView]


async def test_snapshot_of_another_format_is_returned_as_it_is(backend: RedisBackend, store: Store) -> None:
    """The core replays the log if it cannot read the snapshot."""
    with backend.client() as client:
        client.hset(USER, f"s:{V}", b"\2 another layout")
    assert (await read(store, "u")).snapshot == b"\2 another layout"
