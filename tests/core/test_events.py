from __future__ import annotations

import pytest

from service.core.events import RESERVED_EVENT_ID, NewEvent


def test_event_without_timestamp_happens_now() -> None:
    assert NewEvent.create("i", None, "e", now=5.0).timestamp == 5.0
    assert NewEvent.create("i", 3.0, "e", now=5.0).timestamp == 3.0


def test_fingerprint_covers_item_and_sent_timestamp_but_not_the_arrival() -> None:
    first = NewEvent.create("i", None, "e", now=5.0)
    assert NewEvent.create("i", None, "e", now=6.0).fingerprint == first.fingerprint
    others = [NewEvent.create("j", None, "e", now=5.0), NewEvent.create("i", 5.0, "e", now=5.0)]
    assert first.fingerprint not in {other.fingerprint for other in others}


@pytest.mark.parametrize(
    ("event_id", "reserved"), [("seq-1", True), ("seq-", False), ("seq-1x", False), ("e", False)]
)
def test_only_ids_made_of_a_sequence_are_reserved(event_id: str, reserved: bool) -> None:
    assert bool(RESERVED_EVENT_ID.fullmatch(event_id)) == reserved
