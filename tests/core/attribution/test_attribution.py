"""Ids of answers, and the store whose events carry credits."""

from __future__ import annotations

import pytest

from service.core.attribution.attribution import (
    Attribution,
    AttributionRules,
    credited_store,
    open_attribution,
    running_experiment,
)
from service.core.attribution.recommendation_ids import Recommendation, RecommendationIds
from service.core.engine_requests import ScoredItem
from service.core.events import DAY_SECONDS, AppendAndRead, NewEvent
from tests.core.fakes import FakeEngine
from tests.core.memory_store import MemoryStore

pytestmark = pytest.mark.anyio

KEY = b"k" * 32
ITEMS = [ScoredItem(f"item-{number}", 1.0 / (1 + number)) for number in range(3)]


class Models:
    def __init__(self) -> None:
        self.served = [FakeEngine("v1")]
        self.share = 0.0


def read(text: str) -> Recommendation:
    found = RecommendationIds([KEY], 1).read(text)
    assert found is not None
    return found


def test_answers_for_users_name_the_running_test() -> None:
    models = Models()
    attribution = Attribution(AttributionRules([KEY], 3), models, lambda: 1000.0)
    plain = read(attribution.id_of_answer("v1", ITEMS, None, for_user=True))
    assert (plain.experiment, plain.expires_at) == ("", 1000 + 3 * DAY_SECONDS)
    assert running_experiment(models) == ""
    models.served, models.share = [FakeEngine("v1"), FakeEngine("v2")], 0.25
    both = {read(attribution.id_of_answer(v, ITEMS, None, for_user=True)).experiment for v in ("v1", "v2")}
    assert both == {running_experiment(models)}
    assert read(attribution.id_of_answer("v1", ITEMS, None, for_user=False)).experiment == ""
    assert read(attribution.id_of_answer("before the test", ITEMS, None, for_user=True)).experiment == ""
    models.share = 0.5
    assert running_experiment(models) not in both


async def test_store_gets_credits_of_events_with_valid_ids_only() -> None:
    attribution = open_attribution(AttributionRules([KEY]), Models())
    assert attribution is not None
    text, store = attribution.id_of_answer("v1", ITEMS, None, for_user=True), MemoryStore()
    events = [
        NewEvent.create("item-1", None, "e1", 0.0, recommendation_id=text),
        NewEvent.create("item-1", None, "e2", 0.0, recommendation_id=text[:-1]),
        NewEvent.create("item-1", None, "e3", 0.0),
    ]
    await credited_store(store, attribution).append_and_read([AppendAndRead("u", None, tuple(events))])
    assert [shard for shard in store.counters if shard] == [{"p:0:v1:2:c": 1}]


def test_without_keys_nothing_is_wrapped() -> None:
    store = MemoryStore()
    assert open_attribution(AttributionRules([]), Models()) is None
    assert credited_store(store, None) is store
