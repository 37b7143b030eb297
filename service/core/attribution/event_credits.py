"""Credits of new events, from the recommendation ids that they carry."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from service.core.attribution.credits import MICRO
from service.core.attribution.recommendation_ids import RecommendationIds
from service.core.event_types.effects import IMPRESSION, UNNAMED_TYPES
from service.core.events import NewEvent

MAX_COUNTED_VALUE = 1e9  # of one event


class EventCredits:
    """Decides what an event with a recommendation id counts.

    - An event of type `impression` counts an impression, `dislike` nothing, and every other one a click.
    - An event of a conversion type counts a conversion too, and its value.

    What a type does in a model does not matter, so that two models are counted alike.

    Args:
        ids: Reads the ids.
        conversions: Types of events that are conversions.
        clock: Unix seconds.
    """

    def __init__(
        self, ids: RecommendationIds, conversions: frozenset[str], clock: Callable[[], float] = time.time
    ) -> None:
        self._ids = ids
        self._conversions = conversions
        self._clock = clock

    def credited(self, event: NewEvent) -> NewEvent:
        """Return the event with its credit.

        It is empty unless the id is valid, has not expired, and holds the item.
        """
        return event._replace(credit=self._credit(event))

    def _credit(self, event: NewEvent) -> str:
        found = self._ids.read(event.recommendation_id)
        if found is None or self._clock() >= found.expires_at:
            return ""
        position = found.position_of(event.item_id)
        amounts = self._amounts(event, found.impression_weight)
        if position is None or not amounts:
            return ""
        counters = f"p:{found.placement}:{found.model_version}:{position}"
        if found.experiment:
            counters += f" x:{found.experiment}:{found.model_version}"
        return f"{amounts} {counters}"

    def _amounts(self, event: NewEvent, impression_weight: int) -> str:
        if event.type == IMPRESSION:
            return f"i{impression_weight}" if impression_weight else ""
        if not UNNAMED_TYPES.is_positive(event.type):
            return ""
        if event.type not in self._conversions:
            return "c1"
        value = event.value
        if value is None or not math.isfinite(value) or not 0 < abs(value) <= MAX_COUNTED_VALUE:
            return "c1o1"
        return f"c1o1v{round(value * MICRO)}"
