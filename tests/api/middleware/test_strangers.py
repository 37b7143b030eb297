"""Limit of requests without a valid key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.api.connection.token_buckets import network_of
from service.api.middleware import auth
from tests.api.app_harness import AppHarness
from tests.api.conftest import KEY

RATE = 5
HERE = ("192.0.2.1", 1)


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[AppHarness]:
    harness = AppHarness(tmp_path, keys=(KEY,), token_keys=("user-token-key-" * 3,), stranger_rate=RATE).start()
    yield harness
    harness.close()


def statuses(
    harness: AppHarness, path: str, headers: dict[str, str], client: tuple[str, int] = HERE, count: int = 4 * RATE
) -> Counter[int]:
    async def send_all() -> Counter[int]:
        transport = httpx.ASGITransport(harness.app, client=client)
        async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as sender:
            return Counter([(await sender.get(path)).status_code for _ in range(count)])

    return harness.run(send_all())


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/v1/model", {"x-api-key": "a-wrong-key-of-enough-length"}, 401),
        ("/v1/model", {"authorization": "Bearer a.b.c"}, 401),
        ("/v1/model", {}, 401),
        ("/openapi.json", {}, 200),
        ("/docs", {}, 200),
        ("/docs/swagger-ui.css", {}, 200),
        ("/", {}, 200),
        ("/nothing", {}, 404),
    ],
)
def test_requests_without_a_valid_key_are_limited_for_each_address(
    harness: AppHarness, path: str, headers: dict[str, str], status: int
) -> None:
    found = statuses(harness, path, headers)
    assert set(found) == {status, 429}
    assert RATE <= found[status] < 3 * RATE
    assert statuses(harness, path, headers, ("192.0.2.2", 1), 1) == {status: 1}
    # Neither a valid key nor a probe of the same address is limited.
    assert statuses(harness, "/v1/model", {"x-api-key": KEY}) == {200: 4 * RATE}
    for probe in ("/healthz", "/readyz"):
        assert statuses(harness, probe, {}) == {200: 4 * RATE}


def test_limited_request_gets_the_error_shape_and_is_counted(harness: AppHarness) -> None:
    wrong = {"x-api-key": "a-wrong-key-of-enough-length"}
    answers = [harness.get("/v1/model", headers=wrong) for _ in range(4 * RATE)]
    limited = next(answer for answer in answers if answer.status_code == 429)
    assert harness.refused(429, limited)["code"] == "rate_limited"
    assert int(limited.headers["retry-after"]) >= 1
    assert 'recblr_rate_limited_total{key="anonymous"}' in harness.get("/metrics", headers={"x-api-key": KEY}).text


def test_request_with_very_many_keys_is_refused_even_if_one_is_right(harness: AppHarness) -> None:
    headers = [("x-api-key", f"a-wrong-key-number-{number}") for number in range(auth.MAX_PRESENTED_KEYS)]
    assert harness.get("/v1/model", headers=[*headers[1:], ("x-api-key", KEY)]).status_code == 200
    harness.refused(401, harness.get("/v1/model", headers=[*headers, ("x-api-key", KEY)]))


@pytest.mark.parametrize(
    ("client", "account"),
    [
        (None, ""),
        (("192.0.2.1", 5), "192.0.2.1"),
        (("2001:db8:1:2:3:4:5:6", 5), "2001:0db8:0001:0002"),
        (("2001:db8:1:2::9", 5), "2001:0db8:0001:0002"),
        (("fe80::1%eth0", 5), "fe80:0000:0000:0000"),
        (("::ffff:192.0.2.1", 5), "192.0.2.1"),
    ],
)
def test_address_counts_as_its_network(client: tuple[str, int] | None, account: str) -> None:
    assert network_of(client) == account
