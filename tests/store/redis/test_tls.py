"""Redis behind TLS, for the store and for the stream."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import trustme

from service.store.errors import StoreRefusedError
from service.store.factory import open_store
from service.store.streams.redis_stream import open_stream
from tests.servers import RedisServer, free_port
from tests.store.calls import append, new, put

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def tls_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """The port of a TLS server, and its authority's certificate file."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
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


async def test_store_works_behind_tls(tls_server: tuple[int, Path]) -> None:
    port, ca = tls_server
    store = await open_store(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={ca}", 10)
    await append(store, "u", new("a"))
    assert await put(store, "u", 1, b"x" * 100_000)
    await store.close()


async def test_stream_works_behind_tls(tls_server: tuple[int, Path]) -> None:
    port, ca = tls_server
    stream = await open_stream(
        f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={quote(str(ca), safe='')}", "events", "recblr"
    )
    await stream.close()


async def test_stream_refuses_untrusted_server_and_tls_options_without_tls(tls_server: tuple[int, Path]) -> None:
    port, _ = tls_server
    with pytest.raises(StoreRefusedError, match="certificate that is not trusted"):
        await open_stream(f"rediss://127.0.0.1:{port}/0", "events", "recblr")
    with pytest.raises(StoreRefusedError, match="only with rediss"):
        await open_stream(f"redis://127.0.0.1:{port}/0?ssl_ca_certs=/ca.pem", "events", "recblr")


@pytest.mark.parametrize(
    ("scheme", "query", "says"),
    [
        ("rediss", "", "certificate that is not trusted .*self-signed.*ssl_ca_certs=FILE"),
        ("rediss", "?ssl_ca_certs={folder}/other.pem", "certificate that is not trusted"),
        ("rediss", "?ssl_ca_certs={folder}/none.pem", "a TLS file cannot be read"),
        ("rediss", "?ssl_ca_certs={folder}/key.pem", "a TLS file cannot be read"),
        ("redis", "", "use rediss:// if it speaks TLS"),
    ],
)
async def test_refusal_names_the_fault_of_tls(
    tls_server: tuple[int, Path], scheme: str, query: str, says: str
) -> None:
    port, ca = tls_server
    trustme.CA().cert_pem.write_to_path(str(ca.parent / "other.pem"))
    with pytest.raises(StoreRefusedError, match=says) as refused:
        await open_store(f"{scheme}://127.0.0.1:{port}/0{query.format(folder=ca.parent)}", 10)
    assert "\n" not in str(refused.value)
