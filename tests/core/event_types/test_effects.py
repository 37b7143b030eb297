from __future__ import annotations

import pytest

from service.core.event_types.effects import UNNAMED_TYPES, EventTypes, TypeEffect

LIKE = TypeEffect("replayed", positive=True)


@pytest.mark.parametrize(
    ("event_type", "replayed", "excluding", "positive"),
    [
        ("", True, False, True),
        ("purchase", True, False, True),
        ("dislike", False, True, False),
        ("impression", False, False, False),
    ],
)
def test_bundle_without_types_replays_all_but_dislikes_and_impressions(
    event_type: str, replayed: bool, excluding: bool, positive: bool
) -> None:
    types = UNNAMED_TYPES
    found = types.is_replayed(event_type), types.is_excluding(event_type), types.is_positive(event_type)
    assert found == (replayed, excluding, positive)


@pytest.mark.parametrize("event_type", ["purchase", "impression"])
def test_type_that_a_bundle_with_types_does_not_name_is_ignored(event_type: str) -> None:
    types = EventTypes({"like": LIKE})
    assert types.effect(event_type).replay == "ignored"
    assert not types.is_excluding(event_type) and not types.is_positive(event_type)


def test_views_and_dislikes_keep_their_effect_if_a_bundle_does_not_name_them() -> None:
    types = EventTypes({"like": LIKE})
    assert types.is_replayed("") and types.is_positive("")
    assert types.is_excluding("dislike") and not types.is_replayed("dislike")


def test_bundle_that_names_view_means_events_without_a_type() -> None:
    types = EventTypes({"view": TypeEffect("ignored", positive=False)})
    assert not types.is_replayed("")


def test_dislike_that_a_bundle_replays_still_excludes_and_never_lifts() -> None:
    types = EventTypes({"dislike": TypeEffect("replayed", positive=True)})
    assert types.is_replayed("dislike") and types.is_excluding("dislike") and not types.is_positive("dislike")


def test_type_that_a_bundle_only_excludes_is_not_replayed() -> None:
    types = EventTypes({"hide": TypeEffect("excluded", positive=False)})
    assert types.is_excluding("hide") and not types.is_replayed("hide")
