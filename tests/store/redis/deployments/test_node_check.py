"""Checks of a Redis server when the store opens."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from service.core.errors import StoreUnavailable
from service.store.errors import StoreRefusedError
from service.store.factory import open_store
from tests.deployments import wait_for
from tests.servers import RedisServer, free_port
from tests.store.backends import RedisBackend
from tests.store.calls import append, new

pytestmark = pytest.mark.anyio


@pytest.fixture
def backend() -> Iterator[RedisBackend]:
    """A server of its own for each test, which may break it."""
    with RedisServer() as server:
        yield RedisBackend(server)


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
async def test_eviction_policy_is_refused(backend: RedisBackend, policy: str) -> None:
    with backend.client() as client:
        client.config_set("maxmemory-policy", policy)
    with pytest.raises(StoreRefusedError, match=f"maxmemory-policy is {policy}.*set it to noeviction"):
        await backend.open()


async def test_eviction_policy_is_found_without_the_right_to_config(backend: RedisBackend) -> None:
    url = f"redis://shop:secret@127.0.0.1:{backend.server.port}"
    with backend.client() as client:
        client.execute_command("ACL SETUSER", "shop", "on", ">secret", "~*", "&*", "+@all", "-config")
        store = await open_store(url, 10)
        await append(store, "u", new("a"))
        await store.close()
        client.config_set("maxmemory-policy", "allkeys-random")
        with pytest.raises(StoreRefusedError, match="allkeys-random"):
            await open_store(url, 10)
        client.execute_command("ACL SETUSER", "shop", "-info")
    with pytest.raises(StoreRefusedError, match="refuses INFO or SCRIPT LOAD"):
        await open_store(url, 10)


async def test_wrong_credentials_are_refused(backend: RedisBackend) -> None:
    with pytest.raises(StoreRefusedError, match="credentials") as refusal:
        await open_store(f"redis://me:secret@127.0.0.1:{backend.server.port}", 10)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
async def test_unreachable_server_is_refused(scheme: str) -> None:
    port = free_port()
    with pytest.raises(StoreRefusedError) as refusal:
        await open_store(f"{scheme}://me:secret@127.0.0.1:{port}/0", 10)
    assert str(refusal.value) == (f"Redis at 127.0.0.1:{port} cannot be reached; start it or correct the state URL.")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis://127.0.0.1:{port}/99", "no database of this number"),
        ("rediss://127.0.0.1:{port}/0", "use redis:// if it has none"),
        ("redis://no.such.host.invalid:{port}/0", "host name that cannot be resolved"),
    ],
)
async def test_refusal_names_what_is_wrong_in_the_url(backend: RedisBackend, url: str, says: str) -> None:
    with pytest.raises(StoreRefusedError, match=says):
        await open_store(url.format(port=backend.server.port), 10)


async def test_write_to_a_replica_or_a_server_without_disk_says_so(backend: RedisBackend) -> None:
    store = await backend.open()
    with backend.client() as client:
        (backend.server.folder / "dump.rdb").mkdir()
        client.set("a", "b")
        client.config_set("save", "1000 1")
        client.bgsave()
        wait_for("the failed save", lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")
        with pytest.raises(StoreUnavailable) as refused:
            await append(store, "u", new("a"))
        assert "cannot save to its disk (MISCONF)" in refused.value.for_log
        client.config_set("save", "")
        client.replicaof("127.0.0.1", str(free_port()))
        with pytest.raises(StoreUnavailable) as refused:
            await append(store, "u", new("a"))
        assert "is a replica and refuses writes (READONLY)" in refused.value.for_log
    await store.close()


async def test_paused_server_is_refused(backend: RedisBackend) -> None:
    backend.server.pause()
    with pytest.raises(StoreRefusedError, match="cannot be reached"):
        await backend.open()
