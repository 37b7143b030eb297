"""Codes of events, as a model's replay takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from model.bundle.event_types import DEFAULT_TYPE, EventTypes
from service.engine.state_codec import TYPE_BITS

# Types that a model without types does not replay: they say the opposite of what it learnt, or nothing.
NOT_PLAIN = frozenset({"dislike", "impression"})


class EventCodes:
    """Codes of events (see `state_codec`) under the types of one model."""

    def __init__(self, types: EventTypes | None, rows: Mapping[str, int]) -> None:
        """Prepare for a model.

        Args:
            types: what each type does; None for a model without types, which replays all but `NOT_PLAIN` alike.
            rows: rows of the items that the model knows.
        """
        self._rows = rows
        self._other = None if types else 0
        self._above: dict[str, int | None] = {"": 0, DEFAULT_TYPE: 0} | dict.fromkeys(NOT_PLAIN)
        for number, (name, rule) in enumerate((types or {}).items()):
            self._above[name] = number << TYPE_BITS if rule.replay == "replayed" else None

    def of(self, items: Sequence[str], types: Sequence[str]) -> list[int]:
        """Return the codes of the events that advance a state.

        Args:
            items: item ids; those that the model does not know are left out.
            types: their types, of which some are not replayed; none if all have the default.

        Raises:
            ValueError: there are types for some of the items only.
        """
        known = self._rows
        if not types:
            return [row for item in items if (row := known.get(item))]
        codes = []
        for item, event_type in zip(items, types, strict=True):
            row, above = known.get(item), self._above.get(event_type, self._other)
            if row and above is not None:
                codes.append(row | above)
        return codes
