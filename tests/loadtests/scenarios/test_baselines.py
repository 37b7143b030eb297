"""The baseline app and Redis alone."""

from __future__ import annotations

from loadtests.environment.servers import RedisSettings, redis_server
from loadtests.generator.http_client import request_json
from loadtests.scenarios.baselines import empty_fastapi, redis_benchmark
from service.api.schemas.responses import RecordedOut


def test_baseline_app_answers_in_the_shape_of_the_service() -> None:
    with empty_fastapi() as tested:
        body = {"user_id": "u", "item_id": "1", "event_id": "e"}
        answer = request_json(tested.server.port, "POST", "/v1/events?k=10", body)
    recorded = RecordedOut.model_validate(answer)
    assert recorded.recommendations is not None
    assert len(recorded.recommendations.items) == 10


def test_redis_benchmark_measures_set_and_get() -> None:
    with redis_server(RedisSettings("no")) as redis:
        rates = redis_benchmark(redis, requests=1_000)
    assert rates.keys() == {"set_per_s", "get_per_s"}
    assert min(rates.values()) > 0
