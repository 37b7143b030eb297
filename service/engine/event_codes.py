"""Codes of events, as a model's replay takes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from model.bundle import event_types
from service.core.event_fields import DEFAULT_TYPE
from service.core.event_types.effects import DISLIKE, IMPRESSION, EventTypes, TypeEffect
from service.engine.state_codec import TYPE_BITS


class EventCodes:
    """Codes of events (see `state_codec`) under the types of one model.

    Attributes:
        types: Effects of the types.
    """

    def __init__(self, rules: event_types.EventTypes | None) -> None:
        """Prepare for a model by the rules of its types, if any."""
        named = None if rules is None else {name: TypeEffect(r.replay, r.positive) for name, r in rules.items()}
        self.types = EventTypes(named)
        numbers = {name: number for number, name in enumerate(rules or {})}
        self._above = {
            name: numbers.get(name, 0) << TYPE_BITS if self.types.is_replayed(name) else None
            for name in ("", DISLIKE, IMPRESSION, *numbers)
        }
        self._above[DEFAULT_TYPE] = self._above[""]
        self._other = None if rules else 0

    def of(self, items: Sequence[str], types: Sequence[str], row_of: Callable[[str], int | None]) -> list[int]:
        """Return the codes of the events that advance a state.

        Args:
            items: item ids; those that the model does not know are left out.
            types: their types, of which some are not replayed; none if all have the default.
            row_of: returns the row of an item; None or 0 if it is unknown.

        Raises:
            ValueError: there are types for some of the items only.
        """
        if not types:
            return [row for item in items if (row := row_of(item))]
        codes = []
        for item, event_type in zip(items, types, strict=True):
            row, above = row_of(item), self._above.get(event_type, self._other)
            if row and above is not None:
                codes.append(row | above)
        return codes
