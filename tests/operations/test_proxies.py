"""HTTPS through real proxies, as docs/operations/https.md configures them."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from tests.certificates import Authority
from tests.deployments import wait_for
from tests.docs.pages import ROOT
from tests.end_to_end.service import KEY, RunningService
from tests.operations.proxies import HOST, PROXIES, Proxy, haproxy, issue

BUNDLE = ROOT / "bundles" / "ml-1m-demo"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return issue(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("service")
    with RunningService(folder, f"sqlite:///{folder}/events.db", BUNDLE) as running:
        yield running


@pytest.fixture(params=PROXIES)
def proxied(
    request: pytest.FixtureRequest, tmp_path: Path, authority: Authority, service: RunningService
) -> Iterator[tuple[httpx.Client, Proxy]]:
    """A client of each proxy in front of the service."""
    with (
        PROXIES[request.param](tmp_path, authority, address_of(service)) as proxy,
        client_of(proxy, authority) as client,
    ):
        wait_for("the service behind the proxy", lambda: client.get("/readyz").status_code == 200)
        yield client, proxy


def address_of(service: RunningService) -> str:
    return service.url.removeprefix("http://")


def client_of(proxy: Proxy, authority: Authority) -> httpx.Client:
    """Return a client that checks the proxy's certificate."""
    context = ssl.create_default_context(cafile=str(authority.path("ca")))
    return httpx.Client(
        base_url=f"https://127.0.0.1:{proxy.https}",
        headers={"Host": HOST, "X-API-Key": KEY},
        transport=_Named(httpx.HTTPTransport(verify=context)),
        timeout=20.0,
    )


class _Named(httpx.BaseTransport):
    """Transport that asks for the certificate of the proxy's name."""

    def __init__(self, inner: httpx.HTTPTransport) -> None:
        self._inner = inner

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.extensions["sni_hostname"] = HOST
        return self._inner.handle_request(request)

    def close(self) -> None:
        self._inner.close()


def test_events_and_answers_pass_with_a_request_id_that_the_log_has(
    proxied: tuple[httpx.Client, Proxy], service: RunningService
) -> None:
    client, _ = proxied
    answer = client.post("/v1/events?k=3", json={"user_id": "ann", "item_id": "260"})
    assert answer.status_code == 200
    assert len(answer.json()["recommendations"]["items"]) == 3
    request_id = answer.headers["x-request-id"]
    assert len(request_id) >= 32
    wait_for("the log", lambda: request_id in service.log())
    [line] = [json.loads(line) for line in service.log().splitlines() if request_id in line]
    assert (line["method"], line["route"], line["status"]) == ("POST", "/v1/events", 200)


def test_ids_with_special_characters_are_the_same_through_the_proxy(
    proxied: tuple[httpx.Client, Proxy], service: RunningService
) -> None:
    client, proxy = proxied
    for special in ("a/b", "50%", "%2F", "ü", "a b+c", "x?y#z", "a;b", "a//b"):
        user = f"{special} of {proxy.https}"
        assert client.post("/v1/events", json={"user_id": user, "item_id": "1"}).status_code == 200
        path = f"/users/{quote(user, safe='')}/events"
        through = client.get(f"/v1{path}")
        assert through.status_code == 200, (user, through.text)
        assert through.json() == service.get(path)
        assert len(through.json()["events"]) == 1


def test_largest_body_passes_and_a_larger_one_is_413(proxied: tuple[httpx.Client, Proxy]) -> None:
    client, _ = proxied
    events = [{"user_id": "big", "item_id": "x" * 256, "event_id": f"{n:0256d}"} for n in range(1000)]
    body = json.dumps({"events": events}).encode()
    padded = body + b" " * (4 * 1024 * 1024 - len(body) - 1)
    assert (
        client.post("/v1/events/batch", content=padded, headers={"content-type": "application/json"}).status_code
        == 200
    )
    assert client.post("/v1/events/batch", content=padded + b"  " * 1024).status_code == 413


def test_http_is_redirected_to_https_with_its_method(proxied: tuple[httpx.Client, Proxy]) -> None:
    _, proxy = proxied
    answer = httpx.post(f"http://127.0.0.1:{proxy.http}/v1/events?k=3", headers={"Host": HOST}, json={})
    assert answer.status_code == 308
    assert answer.headers["location"].startswith(f"https://{HOST}")
    assert answer.headers["location"].endswith("/v1/events?k=3")


def test_haproxy_sends_requests_to_the_machine_that_is_ready(tmp_path: Path, authority: Authority) -> None:
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    one, two = (RunningService(folder, f"sqlite:///{folder}/events.db", BUNDLE) for folder in folders)
    with (
        one,
        two,
        haproxy(tmp_path, authority, address_of(one), address_of(two)) as proxy,
        client_of(proxy, authority) as client,
    ):
        wait_for("both machines", lambda: {answered_by(client, one, two) for _ in range(6)} == {0, 1})
        assert one.stop() == 0
        wait_for("the other machine", lambda: {answered_by(client, one, two) for _ in range(6)} == {1})
        assert all(client.get("/readyz").status_code == 200 for _ in range(20))
        one.start()
        wait_for("both machines again", lambda: {answered_by(client, one, two) for _ in range(6)} == {0, 1})


def answered_by(client: httpx.Client, *services: RunningService) -> int | None:
    """Return which service has logged a request."""
    answer = client.get("/v1/model")
    if answer.status_code != 200:
        return None
    request_id = answer.headers["x-request-id"]
    wait_for("the log", lambda: any(request_id in service.log() for service in services))
    return next(number for number, service in enumerate(services) if request_id in service.log())
