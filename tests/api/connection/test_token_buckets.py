"""Rate limit of API keys."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.api.connection.token_buckets import MAX_BUCKETS, TokenBuckets
from tests.api.app_harness import AppHarness

LONG = "\N{GRINNING FACE}" * 256  # 1,024 bytes
FIRST, SECOND = "the-first-key-of-two", "the-second-key-of-two"


def test_bucket_holds_one_second_of_requests_and_refills() -> None:
    now = 100.0
    buckets = TokenBuckets(4, lambda: now)
    assert [buckets.of("a").take() for _ in range(6)] == [True] * 4 + [False] * 2
    assert buckets.of("b").take()
    now += 0.5
    assert [buckets.of("a").take() for _ in range(3)] == [True, True, False]
    now += 3600
    assert [buckets.of("a").take() for _ in range(5)] == [True] * 4 + [False]


def test_charged_work_is_paid_before_next_request() -> None:
    now = 100.0
    bucket = TokenBuckets(4, lambda: now).of("a")
    assert bucket.take()
    bucket.charge(40)
    assert not bucket.take()
    assert bucket.seconds_until_token() == 10
    now += 9.4
    assert not bucket.take()
    now += 0.2
    assert bucket.take()


def test_work_is_refused_while_earlier_work_is_not_paid() -> None:
    now = 100.0
    bucket = TokenBuckets(4, lambda: now).of("a")
    assert [bucket.take() for _ in range(4)] == [True] * 4
    assert bucket.admit(40)
    assert not bucket.admit(1)
    now += 9.9
    assert not bucket.admit(1)
    now += 0.2
    assert bucket.admit(1)


def test_batches_that_were_admitted_together_are_refused_but_the_first(tmp_path: Path) -> None:
    """Their bodies arrive after all heads have been admitted."""
    harness = AppHarness(tmp_path, keys=(FIRST,), rate_limit=50).start()
    events = [{"user_id": "u", "item_id": "10", "event_id": f"{n:0200}"} for n in range(100)]

    async def send_together() -> list[int]:
        transport = httpx.ASGITransport(harness.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            sent = [
                client.post("/v1/events/batch", json={"events": events}, headers={"x-api-key": FIRST})
                for _ in range(8)
            ]
            return sorted(each.status_code for each in await asyncio.gather(*sent))

    assert harness.run(send_together()) == [200] + [429] * 7
    harness.close()


def test_buckets_of_callers_idle_for_longest_are_forgotten() -> None:
    buckets = TokenBuckets(1, lambda: 0.0)
    assert buckets.of("first").take()
    for number in range(MAX_BUCKETS - 1):
        buckets.of(f"user {number}")
    assert not buckets.of("first").take()
    buckets.of("one more")
    assert not buckets.of("first").take()


def test_key_beyond_its_rate_is_refused_and_other_keys_are_not(tmp_path: Path) -> None:
    harness = AppHarness(tmp_path, keys=(FIRST, SECOND), rate_limit=1).start()
    headers = {"x-api-key": FIRST}
    answers = [harness.get("/v1/model", headers=headers) for _ in range(10)]
    assert answers[0].status_code == 200
    refused = [answer for answer in answers if answer.status_code != 200]
    assert refused
    for answer in refused:
        assert harness.refused(429, answer)["code"] == "rate_limited"
        assert answer.headers["retry-after"] == "1"
    page = harness.get("/metrics", headers={"x-api-key": SECOND})
    assert page.status_code == 200
    assert f'recblr_rate_limited_total{{key="key-1"}} {len(refused)}.0' in page.text
    assert 'recblr_rate_limited_total{key="key-2"}' not in page.text
    harness.close()


def test_open_path_is_never_limited(tmp_path: Path) -> None:
    harness = AppHarness(tmp_path, rate_limit=1).start()
    assert {harness.get("/healthz").status_code for _ in range(10)} == {200}
    assert 429 in {harness.get("/v1/model").status_code for _ in range(10)}
    harness.close()


@pytest.mark.parametrize("fast_path", [True, False])
@pytest.mark.parametrize(
    ("method", "path", "body", "cost"),
    [
        ("POST", "/v1/events/batch", {"events": [{"user_id": "u", "item_id": "10"}] * 100}, 100),
        ("POST", "/v1/events?k=10000", {"user_id": "u", "item_id": "10"}, 26),
        ("GET", "/v1/users/u/recommendations?k=10000", None, 26),
        ("POST", "/v1/recommendations", {"history": ["10"] * 960, "k": 4000}, 27),
        ("POST", "/v1/users/u/rank", {"candidates": ["10"] * 1000}, 11),
        ("POST", "/v1/events?k=10", {"user_id": "u", "item_id": "10"}, 1),
        ("POST", "/v1/events", {"user_id": LONG, "item_id": LONG, "event_id": LONG}, 13),
        ("POST", "/v1/events/batch", {"events": [{"user_id": LONG, "item_id": LONG, "event_id": LONG}] * 10}, 122),
        ("PUT", "/v1/items/1", {"title": "x" * 500, "categories": ["y" * 100] * 8}, 6),
        ("POST", "/v1/items/batch", {"items": [{"item_id": "1", "title": "x" * 500}] * 10}, 22),
        ("GET", "/v1/users/u/recommendations", None, 1),
    ],
)
def test_request_is_charged_for_its_work(
    tmp_path: Path, fast_path: bool, method: str, path: str, body: Any, cost: int
) -> None:
    harness = AppHarness(tmp_path, keys=(FIRST,), rate_limit=1, fast_path=fast_path).start()
    assert harness.call(method, path, json=body, headers={"x-api-key": FIRST}).status_code == 200
    refused = harness.get("/v1/model", headers={"x-api-key": FIRST})
    assert refused.status_code == 429
    assert cost - 1 <= int(refused.headers["retry-after"]) <= cost
    harness.close()
