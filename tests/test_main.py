"""The composition root, in whole server processes."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from model.bundle.bundle import WEIGHTS, write_bundle
from model.config import ModelConfig
from service.key_file import KeyRing
from service.main import start_services
from service.observability.metrics import PrometheusMeter
from service.settings import Settings
from tests.model.builders import bundle_of
from tests.servers import free_port
from tests.store.backends import SqliteBackend
from tests.store.calls import append, new

ROOT = Path(__file__).parent.parent
BUNDLE = ROOT / "bundles" / "ml-1m-demo"
KEY = "a-key-of-enough-length"


def test_endless_request_head_is_refused_and_large_one_is_read(tmp_path: Path) -> None:
    with serving(tmp_path) as (client, _):
        assert client.get("/healthz", headers={"x-large": "a" * 60_000}).status_code == 200
        batch = {
            "events": [{"user_id": "u", "item_id": "x" * 256}] * 1000
        }  # the limit on heads does not apply to bodies
        for _ in range(3):  # on one connection
            assert client.post("/v1/events/batch", json=batch).status_code == 200
        for start in (
            b"GET /v1/users/",
            b"GET /healthz HTTP/1.1\r\nX-Large: ",
            b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 99,
        ):
            with socket.create_connection((client.base_url.host, client.base_url.port), timeout=30) as connection:
                answer, sent = b"", 0
                try:
                    connection.sendall(start)
                    while sent < 50_000_000:
                        sent += connection.send(b"A: b\r\n" * 10_000 if start.endswith(b"\n") else b"a" * 60_000)
                    answer = connection.recv(1000)
                except ConnectionError:  # the server closed it while the test was sending
                    pass
                assert sent < 50_000_000
                assert not answer or b" 431 " in answer
        assert client.get("/healthz").status_code == 200


def test_idle_connection_stays_usable(tmp_path: Path) -> None:
    """A client that reuses a connection after some seconds gets an answer."""
    ask = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
    with (
        serving(tmp_path) as (client, _),
        socket.create_connection((client.base_url.host, client.base_url.port), timeout=30) as connection,
    ):
        for pause in (0.0, 6.0):
            time.sleep(pause)
            connection.sendall(ask)
            assert b" 200 " in connection.recv(4096)


def environment(folder: Path, **settings: str) -> dict[str, str]:
    ours = {
        "RECBLR_PORT": str(free_port()),
        "RECBLR_STATE_URL": f"sqlite:///{folder}/log.db",
        "RECBLR_BUNDLE": str(BUNDLE),
        "CUDA_VISIBLE_DEVICES": "",  # tests run on the CPU
        **settings,
    }
    return {name: value for name, value in os.environ.items() if not name.startswith("RECBLR_")} | ours


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("RECBLR_BUNDLE", "/nowhere", "/nowhere"),
        ("RECBLR_BUNDLE", "{folder}/damaged", "{folder}/damaged/weights.safetensors is damaged"),
        ("RECBLR_STATE_URL", "sqlite:////nowhere/at/all/log.db", "/nowhere/at/all"),
        ("RECBLR_STATE_URL", "redis://127.0.0.1:1/0", "127.0.0.1:1"),
        ("RECBLR_DEVICE", "cuda", "CUDA"),
    ],
)
def test_wrong_configuration_exits_with_one_sentence(tmp_path: Path, variable: str, value: str, named: str) -> None:
    damaged_bundle(tmp_path / "damaged")
    done = subprocess.run(
        [sys.executable, "-m", "service"],
        env=environment(tmp_path, **{variable: value.format(folder=tmp_path)}),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("recblr-serve: ")
    assert done.stderr.count("\n") == 1
    assert variable in done.stderr
    assert named.format(folder=tmp_path) in done.stderr


def damaged_bundle(folder: Path) -> None:
    """Write a bundle, then flip one bit of its weights."""
    write_bundle(folder, bundle_of(ModelConfig(items=5, dim=8)))
    weights = bytearray((folder / WEIGHTS).read_bytes())
    weights[-3] ^= 1
    (folder / WEIGHTS).write_bytes(weights)


@contextmanager
def serving(folder: Path, **settings: str) -> Iterator[tuple[httpx.Client, subprocess.Popen[str]]]:
    if not BUNDLE.is_dir():
        pytest.skip("the demo bundle is not in this checkout")
    environ = environment(folder, **settings)
    process = subprocess.Popen(
        [sys.executable, "-m", "service"], env=environ, cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{environ['RECBLR_PORT']}") as client:
            deadline = time.monotonic() + 120  # the first start in a checkout compiles the engine
            while True:
                try:
                    client.get("/readyz").raise_for_status()
                    break
                except httpx.TransportError:
                    assert process.poll() is None, process.stderr and process.stderr.read()
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
            yield client, process
    finally:
        process.terminate()
        process.wait(30)
        if process.stderr is not None:
            process.stderr.close()


def test_events_beyond_days_kept_are_removed_without_request(tmp_path: Path) -> None:
    backend = SqliteBackend(tmp_path / "log.db")

    async def fill() -> None:
        store = await backend.open()
        await append(store, "old", new("1"))
        await append(store, "young", new("1"))
        await store.close()

    asyncio.run(fill())
    backend.make_older("old", 31 * 86_400.0)
    backend.make_older("young", 29 * 86_400.0)
    with serving(tmp_path, RECBLR_STATE_URL=backend.url, RECBLR_DAYS_KEPT="30") as (client, _):
        deadline = time.monotonic() + 60
        while client.get("/v1/users/old").status_code != 404:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert client.get("/v1/users/young").json()["events"] == 1


def test_garbage_collector_is_on_after_start(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", bundle_of(ModelConfig(items=5, dim=8)))
    settings = Settings(state_url=SecretStr(f"sqlite:///{tmp_path}/log.db"), bundle=tmp_path / "bundle")

    async def start() -> None:
        async with start_services(settings, PrometheusMeter(), KeyRing(())):
            assert gc.isenabled()

    gc.disable()  # as the command line does for the imports
    try:
        asyncio.run(start())
    finally:
        gc.enable()
        gc.unfreeze()


def test_one_worker_serves_from_start_to_sigterm(tmp_path: Path) -> None:
    with serving(tmp_path, RECBLR_API_KEYS=KEY) as (client, process):
        client.headers["x-api-key"] = KEY
        body = client.post("/v1/events?k=3", json={"user_id": "a/b", "item_id": "1"}).json()
        assert len(body["recommendations"]["items"]) == 3
        assert client.get("/v1/users/a%2Fb").json()["events"] == 1
        assert client.post("/v1/admin/reload", json={}).status_code == 200
        assert 'recblr_batch_size_count{stage="engine"}' in client.get("/metrics").text
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert process.stderr is not None
        lines = [json.loads(line) for line in process.stderr.read().splitlines()]
        assert any("/docs" in line["message"] for line in lines)
        assert KEY not in str(lines)


def test_two_workers_share_metrics_and_reload(tmp_path: Path) -> None:
    with serving(tmp_path, RECBLR_API_KEYS=KEY, RECBLR_WORKERS="2") as (client, process):
        reloaded = client.post("/v1/admin/reload", headers={"x-api-key": KEY}, timeout=60, json={})
        assert reloaded.status_code == 200, reloaded.text
        for number in range(8):
            # A new connection each time, so that both workers answer some.
            answer = httpx.get(f"{client.base_url}/v1/users/{number}/recommendations", headers={"x-api-key": KEY})
            assert answer.status_code == 200
        page = client.get("/metrics", headers={"x-api-key": KEY}).text
        assert "recblr_cold_starts_total 8.0" in page
        assert not libraries_of(process.pid) & {"numpy", "numba", "faiss"}  # the parent only supervises
        process.terminate()
        assert process.wait(30) == 0
        assert process.stderr is not None
        assert "warning" not in process.stderr.read().lower()  # neither ours nor a library's


def libraries_of(process: int) -> set[str]:
    """Return the packages whose native libraries a process has loaded."""
    maps = Path(f"/proc/{process}/maps")
    lines = maps.read_text().splitlines() if maps.exists() else []
    return {line.rpartition("site-packages/")[2].partition("/")[0] for line in lines if "site-packages/" in line}
