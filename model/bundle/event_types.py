"""Event types of a model, and their rules.

The entry `event_types` of a manifest maps names to rules, in the order of the rows of the type embedding. Row 0 is
"view", the type of an event that names none. Models of logs with one type have no such entry.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from model.bundle.manifest import MANIFEST, BundleError
from model.config import ModelConfig

DEFAULT_TYPE = "view"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")

Replay = Literal["replayed", "excluded", "ignored"]
REPLAYS: tuple[Replay, ...] = ("replayed", "excluded", "ignored")


class EventType(NamedTuple):
    """Rule of one event type.

    replay    whether they advance the state, only exclude their items from answers, or do neither
    weight    of such an event as a target of the training; below 0, its item is made less likely
    positive  whether the user wanted the item
    """

    replay: Replay
    weight: float
    positive: bool


EventTypes = Mapping[str, EventType]


def encode_event_types(types: EventTypes | None) -> dict[str, Any]:
    """Return the manifest's entry, ready for JSON; {} without types."""
    return {} if types is None else {"event_types": {name: rule._asdict() for name, rule in types.items()}}


def parse_event_types(path: Path, entry: Any) -> EventTypes | None:  # noqa: ANN401 - parsed JSON
    """Parse the entry of a manifest; None is a model without types.

    Raises:
        BundleError: the entry is not of this form.
    """
    if entry is None:
        return None
    try:
        return {name: _rule(dict(rule)) for name, rule in dict(entry).items()}
    except (ValueError, TypeError, KeyError) as error:
        raise BundleError(f"{path}: 'event_types' is not valid: {error!r:.200}") from None


def check_event_types(types: EventTypes | None, config: ModelConfig) -> None:
    """Check names and number of the types; raises `BundleError`."""
    names = [] if types is None else list(types)
    if len(names) != config.event_types:
        raise BundleError(f"{MANIFEST}: {len(names)} event types do not fit the config ({config.event_types})")
    if names and names[0] != DEFAULT_TYPE:
        raise BundleError(f"{MANIFEST}: the first event type must be {DEFAULT_TYPE!r}")
    if types and types[DEFAULT_TYPE].replay != "replayed":
        raise BundleError(f"{MANIFEST}: events of the event type {DEFAULT_TYPE!r} are always replayed")
    if wrong := [name for name in names if not _NAME.fullmatch(name)]:
        raise BundleError(f"{MANIFEST}: {wrong[0]!r:.80} is not the name of an event type")


def _rule(rule: dict[str, Any]) -> EventType:
    replay, weight, positive = rule.pop("replay"), rule.pop("weight"), rule.pop("positive")
    if replay not in REPLAYS or rule:
        raise ValueError(f"replay {replay!r} and unknown entries {sorted(rule)}")
    if type(weight) not in (int, float) or not math.isfinite(weight) or type(positive) is not bool:
        raise ValueError(f"weight {weight!r}, positive {positive!r}")
    return EventType(replay, float(weight), positive)
