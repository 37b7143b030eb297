"""Eligible rows and the revision that names them, taken together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from service.core.catalogue.attributes import AttributeType
from service.core.catalogue.filter_cache import NOT_CACHED, NotCached
from service.core.catalogue.filter_request import FilterRequest
from service.core.catalogue.items import Item
from service.core.engine_requests import AllowedRows, EngineRequest, EngineResult, TopK
from service.core.errors import InvalidRequest, ServiceError, StateDamagedError, StoreUnavailable
from service.core.events import AppendAndRead, LogView, NewEvent
from service.core.recommending.eligibility import EVERYTHING, Eligibility
from tests.core.fakes import CATALOGUE, FakeEngine
from tests.core.memory_store import MemoryStore
from tests.core.recommending.recommender_harness import build

CHEAP = FilterRequest("price < 3")


class FakeCatalogue:
    """Catalogue whose revision is the number of its changes."""

    def __init__(self) -> None:
        self.is_empty = True
        self.changes = 0
        self.evaluated_at = 4_000_000
        self.hidden: set[str] = set()
        self.compiled = True
        self.types = {"price": AttributeType.NUMBER}
        self.while_compiling = lambda: None

    @property
    def revision(self) -> str:
        return str(self.changes)

    def hide(self, *items: str) -> None:
        self.is_empty, self.changes, self.hidden = False, self.changes + 1, set(items)

    def get(self, item_id: str) -> Item | None:
        return Item(item_id, f"T{item_id}")

    def allowed_now(self, version: str, request: FilterRequest | None) -> AllowedRows | NotCached | None:
        if request is not None and request.expression != "price < 3":
            raise InvalidRequest("no such filter")
        return self._rows() if self.compiled else NOT_CACHED

    async def allowed(self, version: str, request: FilterRequest | None) -> AllowedRows | None:
        await asyncio.sleep(0)
        self.while_compiling()
        self.evaluated_at = 5_250_000
        return self._rows()

    def _rows(self) -> AllowedRows:
        return AllowedRows.of(np.array([False, *(item not in self.hidden for item in CATALOGUE)]))


def test_empty_catalogue_without_filter_asks_for_nothing() -> None:
    eligibility = Eligibility(FakeCatalogue())
    assert not eligibility.is_restricted(None)
    assert asyncio.run(eligibility.of("v1", None)) is EVERYTHING
    assert eligibility.entries(["1"]) is None


def test_rows_and_revision_are_of_one_moment_also_after_a_compilation() -> None:
    catalogue = FakeCatalogue()
    catalogue.hide("1")
    catalogue.compiled, catalogue.while_compiling = False, lambda: catalogue.hide("1", "2")
    found = asyncio.run(Eligibility(catalogue).of("v1", CHEAP))
    assert found.allowed is not None and found.allowed.count == len(CATALOGUE) - 2
    assert (found.revision, found.evaluated_at) == ("2", 5.25)
    assert asyncio.run(Eligibility(catalogue).of("v1", None)).evaluated_at is None


def test_rows_to_compile_are_those_of_the_model_until_the_filter_is_compiled() -> None:
    catalogue = FakeCatalogue()
    eligibility = Eligibility(catalogue)
    assert eligibility.rows_to_compile(FakeEngine(), CHEAP) == 0
    catalogue.compiled = False
    assert eligibility.rows_to_compile(FakeEngine(), CHEAP) == 50


def test_unknown_field_is_refused_with_a_suggestion() -> None:
    eligibility = Eligibility(FakeCatalogue())
    eligibility.check_fields(["price", "title", "categories", "item_id"])
    with pytest.raises(InvalidRequest) as raised:
        eligibility.check_fields(["price", "prise"])
    assert raised.value.details == [
        {"field": "fields", "problem": "no attribute 'prise'; did you mean 'price'?", "suggestion": "price"}
    ]


def test_few_of_many_unknown_fields_are_named() -> None:
    with pytest.raises(InvalidRequest) as raised:
        Eligibility(FakeCatalogue()).check_fields([f"price{number}" for number in range(64)])
    details = raised.value.details or []
    assert len(details) == 20
    assert sum("suggestion" in each for each in details) == 3


def test_item_hidden_while_the_event_is_appended_is_not_in_the_answer() -> None:
    catalogue = FakeCatalogue()

    class HidingStore(MemoryStore):
        async def append_and_read(self, requests: Sequence[AppendAndRead]) -> list[LogView | StoreUnavailable]:
            found = await super().append_and_read(requests)
            catalogue.hide("26")
            return found

    harness = build(HidingStore(), eligibility=Eligibility(catalogue))

    async def scenario() -> None:
        event = NewEvent.create("25", None, "e", now=1.0)
        recorded = await harness.recommender.record("u", event, TopK(3, exclude_seen=True))
        assert recorded.answer is not None
        assert [item.item_id for item in recorded.answer.items] == ["24", "23", "27"]
        assert recorded.answer.eligible.revision == "1"
        await harness.recommender.close()

    asyncio.run(scenario())


def test_item_hidden_while_the_answer_is_computed_is_in_it_only_with_the_revision_before() -> None:
    catalogue = FakeCatalogue()
    catalogue.hide("1")

    class HidingEngine(FakeEngine):
        def run(self, requests: Sequence[EngineRequest]) -> list[EngineResult | StateDamagedError]:
            found = super().run(requests)
            catalogue.hide("1", "26")
            return found

    harness = build(engine=HidingEngine(), eligibility=Eligibility(catalogue))

    async def scenario() -> None:
        event = NewEvent.create("25", None, "e", now=1.0)
        for revision, has_item in (("1", True), ("2", False)):
            recorded = await harness.recommender.record("u", event, TopK(3, exclude_seen=True))
            assert recorded.answer is not None
            assert ("26" in [item.item_id for item in recorded.answer.items]) is has_item
            assert recorded.answer.eligible.revision == revision
        await harness.recommender.close()

    asyncio.run(scenario())


def test_refused_filter_appends_no_event() -> None:
    harness = build(eligibility=Eligibility(FakeCatalogue()))

    async def scenario() -> None:
        event = NewEvent.create("25", None, "e", now=1.0)
        with pytest.raises(ServiceError):
            await harness.recommender.record("u", event, TopK(3, True), FilterRequest("nonsense"))
        assert await harness.store.history("u", None, 10) is None
        await harness.recommender.close()

    asyncio.run(scenario())
