"""Redis behind TLS, and as an ACL user who may do what the README lists and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import trustme
from redis import Redis

from service.store.errors import StoreRefusedError
from service.store.factory import open_store
from service.store.streams.redis_stream import open_stream
from tests.deployments import ClusterServers
from tests.servers import RedisServer, free_port
from tests.store.backends import ClusterBackend
from tests.store.calls import append, new, put
from tests.store.contract import StoreContract

pytestmark = pytest.mark.anyio

README = Path(__file__).parents[3] / "README.md"
PATIENT = 30.0
USER, PASSWORD = "recblr", "made-up-password"


def acl_rule() -> list[str]:
    """The words of the rule as the README has it, after the password."""
    found = re.search(r"^ACL SETUSER recblr on >PASSWORD (.+)$", README.read_text(), re.MULTILINE)
    assert found is not None
    return found[1].split()


def restrict(port: int) -> None:
    with Redis(port=port) as client:
        client.execute_command("ACL", "SETUSER", USER, "reset", "on", f">{PASSWORD}", *acl_rule())


class TestRedisClusterAsAnAclUser(StoreContract):
    """The rule is one for all deployments, and this is the one that needs most of it."""

    @pytest.fixture
    def backend(self, shared_cluster: ClusterServers) -> ClusterBackend:
        shared_cluster.clear()
        for node in shared_cluster.nodes:
            restrict(node.port)
        backend = ClusterBackend(shared_cluster, PATIENT, min_replicas=1)
        backend.url = shared_cluster.url.replace("://", f"://{USER}:{PASSWORD}@")
        return backend


def test_the_rule_holds_no_more_than_is_needed(shared_redis: RedisServer) -> None:
    restrict(shared_redis.port)
    with Redis(port=shared_redis.port) as client:
        for command in (
            ["FLUSHALL"],
            ["CONFIG", "GET", "*"],
            ["KEYS", "*"],
            ["GET", "other"],
            ["EVAL", "return 1", "0"],
        ):
            assert b"no permissions" in client.execute_command("ACL", "DRYRUN", USER, *command)


async def test_a_user_without_the_right_to_scripts_is_refused(shared_redis: RedisServer) -> None:
    restrict(shared_redis.port)
    with Redis(port=shared_redis.port) as client:
        client.execute_command("ACL", "SETUSER", USER, "-script|load")
    with pytest.raises(StoreRefusedError, match="refuses INFO or SCRIPT LOAD"):
        await open_store(f"redis://{USER}:{PASSWORD}@127.0.0.1:{shared_redis.port}/0", 10)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def tls_server(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """The port of a server that speaks TLS, and the file of the authority that vouches for it."""
    folder = tmp_path_factory.mktemp("tls")
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    port = free_port()
    with RedisServer(
        tls_port=str(port),
        tls_cert_file=str(folder / "cert.pem"),
        tls_key_file=str(folder / "key.pem"),
        tls_ca_cert_file=str(folder / "ca.pem"),
        tls_auth_clients="no",
    ):
        yield port, folder / "ca.pem"


async def test_a_server_behind_tls(tls_server: tuple[int, Path]) -> None:
    port, ca = tls_server
    store = await open_store(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={ca}", 10)
    await append(store, "u", new("a"))
    assert await put(store, "u", 1, b"x" * 100_000)
    await store.close()


async def test_a_stream_behind_tls(tls_server: tuple[int, Path]) -> None:
    port, ca = tls_server
    stream = await open_stream(
        f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={quote(str(ca), safe='')}", "events", "recblr"
    )
    await stream.close()
    with pytest.raises(StoreRefusedError):
        await open_stream(f"rediss://127.0.0.1:{port}/0", "events", "recblr")
    with pytest.raises(StoreRefusedError, match="only with rediss"):
        await open_stream(f"redis://127.0.0.1:{port}/0?ssl_ca_certs=/ca.pem", "events", "recblr")


async def test_a_server_nobody_vouches_for_is_refused(tls_server: tuple[int, Path]) -> None:
    port, _ = tls_server
    with pytest.raises(StoreRefusedError, match="cannot be reached"):
        await open_store(f"rediss://127.0.0.1:{port}/0", 10)
    with pytest.raises(StoreRefusedError, match="cannot be reached"):
        await open_store(f"redis://127.0.0.1:{port}/0", 10)
