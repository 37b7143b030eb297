"""Ids for answers, and credits for events that carry one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import NamedTuple, Protocol

from service.core.attribution.event_credits import EventCredits
from service.core.attribution.recommendation_ids import (
    MAX_POSITIONS,
    NO_EXPERIMENT,
    RecommendationIds,
    digest4,
    item_hash,
)
from service.core.engine_requests import ScoredItem
from service.core.errors import StoreUnavailable
from service.core.events import DAY_SECONDS, AppendAndRead, LogView

_MAX_HASHES = 65_536
_ITEM_ID = itemgetter(0)  # of a `ScoredItem`; faster than its attribute


class AttributionRules(NamedTuple):
    """Configuration of attribution.

    Attributes:
        keys: The current and the previous signing key.
        days: Days after an answer in which events count.
        impression_sample: The impressions of one id of this many are counted.
        conversion_type: Type of the events that are conversions.
    """

    keys: Sequence[bytes]
    days: int = 7
    impression_sample: int = 1
    conversion_type: str = "purchase"


class NamedModel(Protocol):
    """Part of `core.ports.Engine`: its version."""

    @property
    def version(self) -> str:
        """Model version."""
        ...


class TestedModels(Protocol):
    """Part of `core.ports.Models`: what is served, and to whom."""

    @property
    def served(self) -> Sequence[NamedModel]:
        """The live model, and during an A/B test the tested one."""
        ...

    @property
    def share(self) -> float:
        """Fraction of users that the tested model answers."""
        ...


class AppendingStore(Protocol):
    """Part of `core.ports.Store` that appends events."""

    async def append_and_read(self, requests: Sequence[AppendAndRead]) -> list[LogView | StoreUnavailable]:
        """See `Store.append_and_read`."""
        ...


class ItemHashes(dict[str, str]):
    """Hashes of the items that were recommended lately."""

    def __missing__(self, item_id: str) -> str:
        """Compute the hash, and keep it."""
        if len(self) >= _MAX_HASHES:
            self.clear()
        self[item_id] = found = item_hash(item_id)
        return found


class Attribution:
    """Issues the ids of answers.

    Args:
        rules: What is configured.
        models: Say which A/B test runs.
        clock: Unix seconds.
    """

    def __init__(self, rules: AttributionRules, models: TestedModels, clock: Callable[[], float] = time.time) -> None:
        self._ids = RecommendationIds(rules.keys, rules.days * DAY_SECONDS, rules.impression_sample)
        self.credits = EventCredits(self._ids, frozenset((rules.conversion_type,)), clock)
        self._models = models
        self._clock = clock
        self._hash_of = ItemHashes().__getitem__

    def id_of_answer(
        self, model_version: str, items: Sequence[ScoredItem], revision: str | None, *, for_user: bool = False
    ) -> str:
        """Return the id of an answer.

        Only answers for users take part in an A/B test.
        """
        experiment = NO_EXPERIMENT
        if for_user and len(served := self._models.served) > 1:
            versions = [model.version for model in served]
            if model_version in versions:  # not an answer that was begun before the test
                experiment = _experiment_digest(*versions[:2], self._models.share)
        hashes = map(self._hash_of, map(_ITEM_ID, items[:MAX_POSITIONS]))
        return self._ids.issue(model_version, hashes, self._clock(), revision, experiment)


def open_attribution(rules: AttributionRules, models: TestedModels) -> Attribution | None:
    """Return the attribution of one worker; None without keys."""
    return Attribution(rules, models) if rules.keys else None


def running_experiment(models: TestedModels) -> str:
    """Return the name of the A/B test that runs; "" without one."""
    served = models.served
    if len(served) < 2:
        return ""
    return _experiment_digest(served[0].version, served[1].version, models.share).hex()


@lru_cache(maxsize=8)
def _experiment_digest(live: str, tested: str, share: float) -> bytes:
    """Return the digest of an A/B test, in 4 bytes.

    Another share makes another test: otherwise the two versions would have had different shares of the traffic of
    different times.
    """
    return digest4(f"{live} {tested} {share!r}")


def credited_store(store: AppendingStore, attribution: Attribution | None) -> AppendingStore:
    """Return a store whose appended events carry their credits."""
    return store if attribution is None else CreditedStore(store, attribution.credits)


class CreditedStore:
    """Store whose appended events carry their credits."""

    def __init__(self, store: AppendingStore, credits: EventCredits) -> None:
        self._store = store
        self._credits = credits

    async def append_and_read(self, requests: Sequence[AppendAndRead]) -> list[LogView | StoreUnavailable]:
        """See `Store.append_and_read`."""
        if any(event.recommendation_id for request in requests for event in request.events):
            requests = [self._credited(request) for request in requests]
        return await self._store.append_and_read(requests)

    def _credited(self, request: AppendAndRead) -> AppendAndRead:
        events = [self._credits.credited(event) if event.recommendation_id else event for event in request.events]
        return request._replace(events=tuple(events))
