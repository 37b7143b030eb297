"""Types of events as a model's replay takes them."""

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
        self._types, self._rows = types, rows
        self._high = {"": 0, DEFAULT_TYPE: 0}
        for number, (name, rule) in enumerate((types or {}).items()):
            if rule.replay == "replayed":
                self._high[name] = number << TYPE_BITS

    def replays(self, event_type: str) -> bool:
        """Return whether events of this type advance a state."""
        return event_type in self._high or (self._types is None and event_type not in NOT_PLAIN)

    def is_target(self, event_type: str) -> bool:
        """Return whether the user wanted the item of such an event."""
        if self._types is None:
            return event_type not in NOT_PLAIN
        rule = self._types.get(event_type or DEFAULT_TYPE)
        return rule is not None and rule.positive

    def of(self, items: Sequence[str], types: Sequence[str]) -> list[int]:
        """Return the codes of the events that advance a state.

        Args:
            items: item ids; those that the model does not know are left out.
            types: their types; none if all have the default.

        Raises:
            ValueError: there are types for some of the items only.
        """
        known = self._rows
        if not types:
            return [row for item in items if (row := known.get(item))]
        high, others = self._high, 0 if self._types is None else None
        codes = []
        for item, event_type in zip(items, types, strict=True):
            row = known.get(item)
            above = high.get(event_type, None if event_type in NOT_PLAIN else others)
            if row and above is not None:
                codes.append(row | above)
        return codes
