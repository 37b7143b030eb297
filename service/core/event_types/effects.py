"""Effects of the types of events under a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from service.core.event_fields import DEFAULT_TYPE
from service.core.events import Event

DISLIKE, IMPRESSION = "dislike", "impression"


class TypeEffect(NamedTuple):
    """Effect of the events of one type.

    Attributes:
        replay: Replayed into the state; excluded: not replayed, and the item is left out of answers; or ignored.
        positive: Whether a newer event of this type lets an excluded item be recommended again.
    """

    replay: Literal["replayed", "excluded", "ignored"]
    positive: bool


_REPLAYED = TypeEffect("replayed", positive=True)
_IGNORED = TypeEffect("ignored", positive=False)
# Of types that a bundle does not name, whatever other types it names.
_WITHOUT_BUNDLE = {"": _REPLAYED, DISLIKE: TypeEffect("excluded", positive=False), IMPRESSION: _IGNORED}


class EventTypes:
    """Effects of all types of events under one model.

    An item of a dislike is always left out, until a newer event of a positive type. `replays_views` says whether
    events without a type are replayed, as they mostly are.
    """

    def __init__(self, effects: Mapping[str, TypeEffect] | None = None) -> None:
        """Take the types that a bundle names, by name.

        A type that it does not name is ignored. None, of a bundle without types: it is replayed. Views, dislikes and
        impressions have an effect of their own.
        """
        named = {"" if name == DEFAULT_TYPE else name: effect for name, effect in (effects or {}).items()}
        self._effects = {**_WITHOUT_BUNDLE, **named}
        self._other = _REPLAYED if effects is None else _IGNORED
        self.replays_views = self.is_replayed("")

    def effect(self, event_type: str) -> TypeEffect:
        """Return the effect of a type, as events have it."""
        return self._effects.get(event_type, self._other)

    def is_replayed(self, event_type: str) -> bool:
        """Return whether events of a type are replayed into the state."""
        return self.effect(event_type).replay == "replayed"

    def replayed(self, events: Sequence[Event]) -> Sequence[Event]:
        """Return the events that are replayed."""
        return [event for event in events if self.is_replayed(event.type)]

    def is_excluding(self, event_type: str) -> bool:
        """Return whether events of a type exclude their items."""
        return event_type == DISLIKE or self.effect(event_type).replay == "excluded"

    def is_positive(self, event_type: str) -> bool:
        """Return whether events of a type lift earlier exclusions."""
        return self.effect(event_type).positive and not self.is_excluding(event_type)


UNNAMED_TYPES = EventTypes()  # of a bundle without types
