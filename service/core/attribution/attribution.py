"""Attribution in one worker: ids for answers, and credits for events that carry one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple, Protocol

from service.core.attribution.event_credits import EventCredits
from service.core.attribution.recommendation_ids import MAX_POSITIONS, NO_EXPERIMENT, RecommendationIds, digest4
from service.core.engine_requests import ScoredItem
from service.core.errors import StoreUnavailable
from service.core.events import DAY_SECONDS, AppendAndRead, LogView
from service.core.ports import Models


class AttributionRules(NamedTuple):
    """What is configured.

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


class AppendingStore(Protocol):
    """Part of `core.ports.Store` that appends events."""

    async def append_and_read(self, requests: Sequence[AppendAndRead]) -> list[LogView | StoreUnavailable]:
        """See `Store.append_and_read`."""
        ...


class Attribution:
    """Issues the ids of answers.

    Args:
        rules: What is configured.
        models: Say which A/B test runs.
        clock: Unix seconds.
    """

    def __init__(self, rules: AttributionRules, models: Models, clock: Callable[[], float] = time.time) -> None:
        self._ids = RecommendationIds(rules.keys, rules.days * DAY_SECONDS, rules.impression_sample)
        self.credits = EventCredits(self._ids, frozenset((rules.conversion_type,)), clock)
        self._models = models
        self._clock = clock

    def id_of_answer(
        self, model_version: str, items: Sequence[ScoredItem], revision: str | None, *, for_user: bool
    ) -> str:
        """Return the id of an answer.

        Only answers for users take part in an A/B test.
        """
        experiment = NO_EXPERIMENT
        served = self._models.served if for_user else ()
        if len(served) > 1:
            live, tested = served[0].version, served[1].version
            if model_version in (live, tested):  # not an answer that was begun before the test
                experiment = experiment_digest(live, tested, self._models.share)
        listed = [item.item_id for item in items[:MAX_POSITIONS]]
        return self._ids.issue(model_version, listed, self._clock(), revision, experiment)


@lru_cache(maxsize=8)
def experiment_digest(live: str, tested: str, share: float) -> bytes:
    """Return the digest of an A/B test, in 4 bytes.

    Another share makes another test: otherwise the two versions would have had different shares of the traffic of
    different times.
    """
    return digest4(f"{live} {tested} {share!r}")


class CreditedStore:
    """Store whose appended events carry their credits."""

    def __init__(self, store: AppendingStore, credits: EventCredits) -> None:
        self._store = store
        self._credits = credits

    async def append_and_read(self, requests: Sequence[AppendAndRead]) -> list[LogView | StoreUnavailable]:
        """See `Store.append_and_read`."""
        return await self._store.append_and_read([self._credited(request) for request in requests])

    def _credited(self, request: AppendAndRead) -> AppendAndRead:
        if not any([event.recommendation_id for event in request.events]):
            return request
        events = [self._credits.credited(event) if event.recommendation_id else event for event in request.events]
        return request._replace(events=tuple(events))
