"""How often a key may call, and whose pages may call at all."""

from __future__ import annotations

from pathlib import Path

from service.api.middleware.rate_limit import TokenBuckets
from tests.api.app_harness import AppHarness

FIRST, SECOND = "the-first-key-of-two", "the-second-key-of-two"
ORIGIN = "https://shop.example"


def test_a_bucket_holds_a_second_and_fills_at_its_rate() -> None:
    now = 100.0
    buckets = TokenBuckets(4, 2, lambda: now)
    assert [buckets.take(0) for _ in range(6)] == [True] * 4 + [False] * 2
    assert buckets.take(1)
    now += 0.5
    assert [buckets.take(0) for _ in range(3)] == [True, True, False]
    now += 3600
    assert [buckets.take(0) for _ in range(5)] == [True] * 4 + [False]


def test_a_key_beyond_its_rate_is_refused_and_the_others_are_not(tmp_path: Path) -> None:
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
    assert f'recblr_rate_limited_total{{key="1"}} {len(refused)}.0' in page.text
    assert 'recblr_rate_limited_total{key="2"}' not in page.text
    harness.close()


def test_what_needs_no_key_is_never_limited(tmp_path: Path) -> None:
    harness = AppHarness(tmp_path, rate_limit=1).start()
    assert {harness.get("/healthz").status_code for _ in range(10)} == {200}
    assert 429 in {harness.get("/v1/model").status_code for _ in range(10)}
    harness.close()


def test_other_sites_may_not_call_unless_they_are_named(tmp_path: Path) -> None:
    asks = {"access-control-request-method": "POST", "access-control-request-headers": "x-api-key,content-type"}
    closed = AppHarness(tmp_path, keys=(FIRST,)).start()
    answer = closed.call("OPTIONS", "/v1/events", headers={"origin": ORIGIN, **asks})
    assert answer.status_code == 401
    answer = closed.get("/v1/model", headers={"origin": ORIGIN, "x-api-key": FIRST})
    assert not [name for name in answer.headers if name.startswith("access-control")]
    closed.close()
    harness = AppHarness(tmp_path, keys=(FIRST,), origins=(ORIGIN,)).start()
    answer = harness.call("OPTIONS", "/v1/events", headers={"origin": ORIGIN, **asks})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, ORIGIN)
    assert harness.call("OPTIONS", "/v1/events", headers={"origin": f"{ORIGIN}.evil", **asks}).status_code == 400
    # Errors too, or a page could not tell why.
    for key, status in ((FIRST, 200), ("wrong", 401)):
        answer = harness.get("/v1/model", headers={"origin": ORIGIN, "x-api-key": key})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (status, ORIGIN)
        assert "access-control-allow-credentials" not in answer.headers
    other = harness.get("/v1/model", headers={"origin": f"{ORIGIN}.evil", "x-api-key": FIRST})
    assert "access-control-allow-origin" not in other.headers
    harness.close()


def test_answers_about_users_are_not_kept_and_none_is_taken_for_another_type(harness: AppHarness) -> None:
    for path in ("/v1/users/u/recommendations", "/v1/users/u", "/v1/nothing"):
        headers = harness.get(path).headers
        assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")
    assert harness.get("/docs").headers["x-content-type-options"] == "nosniff"
