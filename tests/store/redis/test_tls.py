"""Redis behind TLS: for the store, the stream and the trainer's readers."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from redis import Redis

from ingest.errors import DataError
from loadtests.environment.processes import free_port
from model.training.data.event_log import open_log
from model.training.data.export import export_log
from service.core.errors import StoreUnavailable
from service.store.errors import StoreRefusedError
from service.store.factory import open_store
from service.store.streams.redis_stream import open_stream
from tests.certificates import HOST, Authority
from tests.deployments import SLOTS, wait_for
from tests.servers import RedisServer
from tests.store.calls import append, new, put

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    found = Authority(tmp_path_factory.mktemp("tls"))
    found.issue_all()
    return found


@contextmanager
def tls_redis(authority: Authority, certificate: str, *, clients: bool, **options: str) -> Iterator[tuple[int, int]]:
    """Run a server; yield its TLS port and its port without TLS."""
    port = free_port()
    tls = authority.redis_options(certificate, clients=clients)
    with RedisServer(tls_port=str(port), **tls, **options) as server:
        yield port, server.port


@pytest.fixture(scope="module")
def server(authority: Authority) -> Iterator[tuple[int, int]]:
    """A server that asks clients for a certificate."""
    with tls_redis(authority, "server", clients=True) as ports:
        yield ports


@contextmanager
def sentinel(authority: Authority, folder: Path, certificate: str) -> Iterator[str]:
    """Run a primary and a sentinel; yield their URL without query."""
    with tls_redis(authority, "server", clients=True, tls_replication="yes") as (primary, _):
        port = free_port()
        options = {"port": "0", "tls-port": port, "dir": folder, "tls-replication": "yes"}
        tls = authority.redis_options(certificate, clients=True)
        options |= {name.replace("_", "-"): value for name, value in tls.items()}
        lines = [f"{name} {value}" for name, value in options.items()]
        lines.append(f"sentinel monitor primary {HOST} {primary} 1")
        (folder / "sentinel.conf").write_text("\n".join(lines) + "\n")
        with (folder / "sentinel.log").open("w") as log:
            process = subprocess.Popen(["redis-server", str(folder / "sentinel.conf"), "--sentinel"], stdout=log)
        try:
            wait_for("the sentinel", lambda: "+monitor" in (folder / "sentinel.log").read_text())
            yield f"rediss+sentinel://{HOST}:{port}/primary"
        finally:
            process.kill()
            process.wait()


@contextmanager
def cluster(authority: Authority, certificate: str) -> Iterator[str]:
    """Run a cluster of one server; yield its URL without its query."""
    options = {"cluster_enabled": "yes", "cluster_port": str(free_port()), "tls_cluster": "yes"}
    with tls_redis(authority, certificate, clients=True, **options) as (port, plain_port):
        with closing(Redis(port=plain_port)) as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1)
            wait_for("the cluster", lambda: client.cluster("INFO")["cluster_state"] == "ok")
        yield f"rediss+cluster://{HOST}:{port}"


@contextmanager
def deployed(kind: str, authority: Authority, folder: Path, certificate: str = "server") -> Iterator[str]:
    if kind == "sentinel":
        with sentinel(authority, folder, certificate) as url:
            yield url
    elif kind == "cluster":
        with cluster(authority, certificate) as url:
            yield url
    else:
        with tls_redis(authority, certificate, clients=True) as (port, _):
            yield f"rediss://{HOST}:{port}/0"


async def refusals(url: str) -> list[str]:
    """Return what the store and the readers say about `url`."""
    with pytest.raises(StoreRefusedError) as refused:
        await open_store(url, 10)
    with pytest.raises(DataError) as unread, open_log(url) as log:
        log.newest(0)
    said = [str(refused.value), str(unread.value)]
    assert not any("\n" in text for text in said)
    return said


@pytest.mark.parametrize("kind", ["one server", "sentinel", "cluster"])
async def test_store_and_readers_work_with_a_client_certificate(
    kind: str, authority: Authority, tmp_path: Path
) -> None:
    with deployed(kind, authority, tmp_path) as address:
        url = address + authority.query("client")
        store = await open_store(url, 10)
        for user in range(20):
            await append(store, f"u{user}", new("a"))
        assert await put(store, "u1", 1, b"x" * 100_000)
        await store.close()
        assert export_log(url, tmp_path / "out").events == 20


@pytest.mark.parametrize("kind", ["one server", "sentinel", "cluster"])
async def test_expired_server_is_named_on_every_deployment(kind: str, authority: Authority, tmp_path: Path) -> None:
    with deployed(kind, authority, tmp_path, "server-expired") as address:
        for said in await refusals(address + authority.query("client")):
            assert "has a certificate that has expired; renew it" in said


@pytest.mark.parametrize(
    ("certificate", "says"),
    [
        ("server-future", "not valid yet; correct this machine's clock"),
        ("server-stranger", "not trusted .*name its authority with .ssl_ca_certs=FILE"),
        ("server-elsewhere", "for another host .*use the certificate's host"),
    ],
)
async def test_fault_of_the_servers_certificate_is_named(authority: Authority, certificate: str, says: str) -> None:
    with tls_redis(authority, certificate, clients=False) as (port, _):
        for said in await refusals(f"rediss://{HOST}:{port}/0{authority.query()}"):
            assert_says(said, says)


@pytest.mark.parametrize(
    ("client", "says"),
    [
        (None, "asks for a client certificate; add ssl_certfile and ssl_keyfile"),
        ("client-expired", "refuses the client certificate because it has expired; renew ssl_certfile"),
        ("client-stranger", "refuses the client certificate because it does not know its authority"),
        ("client-mixed", "ssl_keyfile is not the key of ssl_certfile"),
        ("missing", "a TLS file cannot be read"),
    ],
)
async def test_fault_of_the_clients_certificate_is_named(
    server: tuple[int, int], authority: Authority, client: str | None, says: str
) -> None:
    for said in await refusals(f"rediss://{HOST}:{server[0]}/0{authority.query(client)}"):
        assert_says(said, says)


async def test_fault_of_the_url_is_named(server: tuple[int, int], authority: Authority) -> None:
    port, plain_port = server
    for said in await refusals(f"rediss://{HOST}:{plain_port}/0{authority.query('client')}"):
        assert_says(said, "does not answer with TLS; use redis:// if it has none")
    for said in await refusals(f"rediss://{HOST}:{port}/0?ssl_keyfile={authority.path('client', 'key')}"):
        assert_says(said, "an ssl_keyfile without its certificate; add ssl_certfile")
    with pytest.raises(StoreRefusedError, match="use rediss:// if it speaks TLS"):
        await open_store(f"redis://{HOST}:{port}/0", 10)


async def test_certificate_that_expires_while_running_is_named_and_can_be_renewed(authority: Authority) -> None:
    live = authority.issue("live")
    with tls_redis(authority, live, clients=True) as (port, plain_port), closing(Redis(port=plain_port)) as client:
        store = await open_store(f"rediss://{HOST}:{port}/0{authority.query('client')}", 10)
        await append(store, "u", new("a"))
        renew(client, authority, "server-expired")
        await append(store, "u", new("b"))  # an open connection is not checked again
        client.client_kill_filter(_type="normal")
        for _ in range(2):  # the first error is that of the closed connection
            with pytest.raises(StoreUnavailable) as unavailable:
                await store.ping()
        assert_says(unavailable.value.for_log, "has a certificate that has expired; renew it")
        renew(client, authority, "server")
        await append(store, "u", new("c"))
        await store.close()


async def test_stream_works_behind_tls_and_names_faults(server: tuple[int, int], authority: Authority) -> None:
    address = f"rediss://{HOST}:{server[0]}/0"
    stream = await open_stream(address + authority.query("client"), "events", "recblr")
    await stream.close()
    with pytest.raises(StoreRefusedError, match="certificate that is not trusted"):
        await open_stream(address, "events", "recblr")
    with pytest.raises(StoreRefusedError, match="asks for a client certificate"):
        await open_stream(address + authority.query(), "events", "recblr")
    with pytest.raises(StoreRefusedError, match="only with rediss"):
        await open_stream(f"redis://{HOST}:{server[1]}/0?ssl_ca_certs=/ca.pem", "events", "recblr")


def renew(client: Redis, authority: Authority, certificate: str) -> None:
    """Replace the certificate `live` by another one."""
    for suffix in ("pem", "key"):
        shutil.copy(authority.path(certificate, suffix), authority.path("live", suffix))
    client.config_set(
        "tls-cert-file", str(authority.path("live")), "tls-key-file", str(authority.path("live", "key"))
    )


def assert_says(text: str, pattern: str) -> None:
    assert re.search(pattern, text), text
