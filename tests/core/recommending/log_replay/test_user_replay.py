"""Replay of a user's log whose events have types."""

from __future__ import annotations

from dataclasses import replace

import pytest

from service.core.engine_requests import RankCandidates, TopK
from service.core.errors import SnapshotDamagedError
from service.core.event_types.effects import EventTypes, TypeEffect
from service.core.events import Event, LogView
from service.core.recommending.log_replay.snapshots import Snapshot, decode_snapshot, encode_snapshot
from service.core.recommending.log_replay.user_replay import UserReplay
from tests.core.fakes import FakeEngine

ENGINE = FakeEngine()
PLAIN = encode_snapshot(Snapshot(7, 0, b"[]"), "ann", "v1")
EXCLUDING = encode_snapshot(Snapshot(7, 0, b"[]", {"3": 4, "5": 6}), "ann", "v1")


def event(sequence: int, item_id: str, event_type: str = "") -> Event:
    return Event(sequence, item_id, 0.0, f"seq-{sequence}", event_type)


def view_of(*events: Event, snapshot: bytes | None = None, typed_from: int = 0, trimmed: int = 0) -> LogView:
    return LogView("g", 9, trimmed, snapshot, events, typed_from=typed_from)


def test_views_alone_are_replayed_as_by_the_release_without_types() -> None:
    replay = UserReplay.of(ENGINE, "ann", view_of(event(8, "1"), event(9, "2"), snapshot=PLAIN))
    assert replay.request(TopK(3, True)) == (b"[]", ("1", "2"), TopK(3, True), (), ())
    assert decode_snapshot(replay.next_snapshot(b"x").blob, "ann", "v1") == Snapshot(9, 0, b"x")


def test_dislikes_and_impressions_are_not_replayed_and_dislikes_exclude() -> None:
    pending = event(7, "9", "impression"), event(8, "1", "purchase"), event(9, "2", "dislike")
    replay = UserReplay.of(ENGINE, "ann", view_of(*pending))
    assert replay.request(TopK(3, False, None, ("4",))) == (
        *(None, ("1",), TopK(3, False, None, ("4", "2")), (), ("purchase",)),
    )
    assert replay.request(RankCandidates(("1", "2"))).query == RankCandidates(("1", "2"), None, ("2",))
    assert replay.ignored == 1
    assert decode_snapshot(replay.next_snapshot(b"x").blob, "ann", "v1").excluded == {"2": 9}


def test_exclusions_of_a_snapshot_go_on_until_a_newer_positive_event() -> None:
    pending = event(8, "3"), event(9, "5", "impression")
    replay = UserReplay.of(ENGINE, "ann", view_of(*pending, snapshot=EXCLUDING, typed_from=4))
    assert replay.excluded == {"5": 6}
    again = UserReplay.of(ENGINE, "ann", view_of(event(8, "3"), event(9, "3", "dislike"), snapshot=EXCLUDING))
    assert again.excluded == {"3": 9, "5": 6}


def test_exclusion_ends_when_retention_removes_its_event() -> None:
    replay = UserReplay.of(ENGINE, "ann", view_of(snapshot=EXCLUDING, typed_from=4, trimmed=4))
    assert replay.excluded == {"5": 6}


def test_snapshot_that_may_have_replayed_typed_events_as_views_is_refused() -> None:
    """A worker of the release without types has written it."""
    assert UserReplay.of(ENGINE, "ann", view_of(snapshot=PLAIN, typed_from=8)).excluded == {}
    with pytest.raises(SnapshotDamagedError, match="without event types"):
        UserReplay.of(ENGINE, "ann", view_of(snapshot=PLAIN, typed_from=7))
    assert UserReplay.of(ENGINE, "ann", view_of(snapshot=EXCLUDING, typed_from=7)).excluded == {"3": 4, "5": 6}


def test_typed_events_count_even_if_the_store_does_not_know_of_them() -> None:
    """As after a merge by a worker of the release without types."""
    assert UserReplay.of(ENGINE, "ann", view_of(event(9, "2", "dislike"))).excluded == {"2": 9}


def test_type_that_the_bundle_does_not_name_is_ignored_and_excludes_nothing() -> None:
    engine = FakeEngine()
    engine.event_types = EventTypes({"like": TypeEffect("replayed", positive=True)})
    pending = event(7, "1", "like"), event(8, "2", "wish"), event(9, "3")
    replay = UserReplay.of(engine, "ann", view_of(*pending))
    assert (replay.request().items, replay.request().types) == (("1", "3"), ("like", ""))
    assert (replay.ignored, replay.excluded) == (1, {})


def test_bundle_that_ignores_views_replays_none() -> None:
    engine = FakeEngine()
    engine.event_types = EventTypes({"view": TypeEffect("ignored", positive=False)})
    replay = UserReplay.of(engine, "ann", replace(view_of(), pending=(event(9, "1"),)))
    assert (replay.request().items, replay.ignored) == ((), 1)
