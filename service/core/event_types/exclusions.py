"""Items that a user's events leave out of answers.

An item is excluded while the kept log holds an excluding event of it, such as a dislike, that is newer than any
positive event of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from service.core.engine_requests import EventExclusion
from service.core.event_types.effects import EventTypes
from service.core.events import Event, LogView

Exclusions = Mapping[str, int]  # sequence of the newest excluding event, by item


def exclusions_after(before: Exclusions | None, view: LogView, types: EventTypes) -> Exclusions | None:
    """Return the excluded items after the pending events of a view.

    Args:
        before: Those of the view's snapshot; None without one, or if no event had a type then.
        view: The user's log.
        types: Effects of the types under the model.

    Returns:
        The items, or None if no event has a type. Those whose event is not kept any more are gone.
    """
    typed = [event for event in view.pending if event.type]
    if before is None and not typed and not view.typed_from:
        return None
    excluded = dict(before or {})
    if excluded or typed:
        for event in view.pending:
            if types.is_excluding(event.type):
                excluded[event.item_id] = event.sequence
            elif event.item_id in excluded and types.is_positive(event.type):
                del excluded[event.item_id]
    return kept_exclusions(excluded, view)


def kept_exclusions(excluded: Exclusions | None, view: LogView) -> Exclusions:
    """Return the exclusions whose event retention has not removed."""
    return {item_id: sequence for item_id, sequence in (excluded or {}).items() if sequence > view.trimmed}


def items_with_events(
    events: Iterable[Event], exclusions: Sequence[EventExclusion], evaluated_at: float
) -> tuple[str, ...]:
    """Return the items with an event that one of `exclusions` names.

    `evaluated_at` is the time that ages count from, in Unix seconds.
    """
    oldest: dict[str, float] = {}
    for event_type, age in exclusions:
        since = float("-inf") if age is None else evaluated_at - age
        oldest[event_type] = min(since, oldest.get(event_type, since))
    found = [event.item_id for event in events if event.type in oldest and event.timestamp >= oldest[event.type]]
    return tuple(dict.fromkeys(found))
