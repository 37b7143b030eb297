"""Workers answer at their last revision while a primary is away."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.crc import key_slot

from service.core.catalogue.revisions import includes
from service.core.catalogue_store import CATALOGUE_SHARDS, catalogue_shard
from service.store.redis.layout import catalogue_keys, keys
from tests.deployments import SLOTS, ClusterServers, SentinelServers, wait_for
from tests.end_to_end.service import KEY, ROOT, RunningService
from tests.servers import RedisServer

BUNDLE = ROOT / "bundles" / "ml-1m-demo"
CONNECTIONS = 16  # that all of them lead to one worker is unlikely
AWAY = 0  # number of the primary
EFFECT_SECONDS = 2.0  # a second on an idle machine; the shortest of three counts

CLIENT = httpx.Client(headers={"x-api-key": KEY, "connection": "close"}, timeout=30)

Json = dict[str, Any]


def primary_of(key: str) -> int:
    return 3 * key_slot(key.encode()) // SLOTS


SHARDS = [primary_of(catalogue_keys(shard)[0]) for shard in range(CATALOGUE_SHARDS)]


def item_on(is_away: bool) -> str:
    """An item of the demo model, on the primary or on another."""
    return next(str(n) for n in range(1, 100) if (SHARDS[catalogue_shard(str(n))] == AWAY) is is_away)


def user_on(is_away: bool) -> str:
    return next(f"u{n}" for n in range(100) if (primary_of(keys(f"u{n}")[0]) == AWAY) is is_away)


def call(service: RunningService, method: str, path: str, body: object = None) -> tuple[int, Json]:
    """Send a request over a new connection, to any worker."""
    answer = CLIENT.request(method, f"{service.url}{path}", json=body)
    return answer.status_code, answer.json()


def answers(service: RunningService) -> list[Json]:
    """The workers' answers to a question that needs no user."""
    question = {"history": [], "k": 4000}
    found = [call(service, "POST", "/v1/recommendations", question) for _ in range(CONNECTIONS)]
    assert {status for status, _ in found} == {200}
    return [answer for _, answer in found]


def is_shown(answer: Json, item_id: str) -> bool:
    return item_id in {item["item_id"] for item in answer["items"]}


def age(service: RunningService) -> float:
    return float(call(service, "GET", "/readyz")[1].get("catalogue_age_seconds", 0.0))


@pytest.mark.parametrize("stop", [RedisServer.kill, RedisServer.pause], ids=lambda stop: stop.__name__)
def test_cluster_without_a_primary_answers_and_follows_the_other_shards(
    tmp_path: Path, stop: Callable[[RedisServer], None]
) -> None:
    here, away = item_on(False), item_on(True)
    with (
        ClusterServers() as cluster,
        RunningService(tmp_path, cluster.url, BUNDLE, RECBLR_WORKERS="2") as service,
    ):
        for item in (here, away):
            service.put(f"/items/{item}", {"available": False})
        wait_for("both items to be hidden", lambda: all(not is_shown(a, here) for a in answers(service)))
        held = answers(service)[0]["catalogue_revision"]
        cluster.nodes[AWAY + 3].kill()  # so that none is promoted
        stop(cluster.nodes[AWAY])
        assert {status for status, _ in [write(service, away, True) for _ in range(3)]} == {503}
        # Questions are answered, at the revision that the workers have.
        for answer in answers(service):
            assert not is_shown(answer, away)
            assert includes(answer["catalogue_revision"], held)
        assert call(service, "GET", f"/v1/users/{user_on(False)}/recommendations")[0] == 200
        assert call(service, "GET", f"/v1/users/{user_on(True)}/recommendations")[0] == 503
        # The other primaries' changes take effect as always.
        effects: list[float] = []
        for is_available in (True, False, True):
            status, written = write(service, here, is_available)
            assert status == 200, written
            acknowledged = time.monotonic()
            wait_for("the change", lambda written=written: follows(service, written["catalogue_revision"]))
            effects.append(time.monotonic() - acknowledged)
            assert {is_shown(answer, here) for answer in answers(service)} == {is_available}
        assert min(effects) < EFFECT_SECONDS, effects
        # Readiness and metrics say how old the copy is.
        wait_for("an old copy", lambda: age(service) > 2)
        wait_for("an old copy in the metrics", lambda: service.metric("recblr_catalogue_age_seconds") > 2)
        assert service.ready()
        cluster.nodes[AWAY].resume() if stop is RedisServer.pause else cluster.nodes[AWAY].start()
        wait_for("the change of the item", lambda: write(service, away, True)[0] == 200)
        wait_for("the item", lambda: all(is_shown(answer, away) for answer in answers(service)))
        wait_for("a current copy", lambda: age(service) < 1)


def write(service: RunningService, item: str, is_available: bool) -> tuple[int, Json]:
    return call(service, "PATCH", f"/v1/items/{item}", {"available": is_available})


def follows(service: RunningService, revision: str) -> bool:
    pages = (call(service, "GET", "/v1/items?limit=1")[1] for _ in range(CONNECTIONS))
    return all(includes(page["catalogue_revision"], revision) for page in pages)


def test_sentinel_without_a_primary_answers_at_the_last_revision(tmp_path: Path) -> None:
    with (
        SentinelServers(sentinels=1) as servers,
        RunningService(tmp_path, servers.url, BUNDLE, RECBLR_WORKERS="2") as service,
    ):
        service.put("/items/1", {"available": False})
        wait_for("the item to be hidden", lambda: all(not is_shown(answer, "1") for answer in answers(service)))
        held = {answer["catalogue_revision"] for answer in answers(service)}
        servers.replica.kill()  # so that none is promoted
        servers.primary.kill()
        wait_for("the outage", lambda: not service.ready())
        assert write(service, "1", True)[0] == 503
        found = answers(service)
        assert not any(is_shown(answer, "1") for answer in found)
        assert {answer["catalogue_revision"] for answer in found} == held
        similar = call(service, "GET", "/v1/items/2/similar?k=4000&filter=item_id%20%3C%3E%20'3'")
        assert similar[0] == 200 and not is_shown(similar[1], "1") and not is_shown(similar[1], "3")
        assert call(service, "GET", "/v1/users/u/recommendations")[0] == 503
        wait_for("an old copy", lambda: service.metric("recblr_catalogue_age_seconds") > 2)
        servers.primary.start()
        wait_for("the end of the outage", service.ready)
        wait_for("the change", lambda: write(service, "1", True)[0] == 200)
        wait_for("the item", lambda: all(is_shown(answer, "1") for answer in answers(service)))
        wait_for("a current copy", lambda: age(service) < 1)
