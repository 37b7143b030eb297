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


def test_plain_event_keeps_the_fingerprint_of_the_release_without_types() -> None:
    assert NewEvent.create("i", None, "e", now=5.0).fingerprint == "bd94e2785522f41b"
    assert NewEvent.create("260", 978300760.5, "e", now=5.0).fingerprint == "9977691808cdc76f"


def test_type_view_equals_no_type() -> None:
    assert NewEvent.create("i", None, "e", 5.0, type="view") == NewEvent.create("i", None, "e", 5.0)
    assert NewEvent.create("i", None, "e", 5.0, "view", 2.0) == NewEvent.create("i", None, "e", 5.0, "", 2.0)


def test_fingerprint_covers_type_value_and_recommendation_id_each() -> None:
    extras: list[tuple[str, float | None, str]] = [
        ("", None, ""),
        ("cart", None, ""),
        ("purchase", None, ""),
        ("", 1.0, ""),
        ("", 0.0, ""),
        ("purchase", 1.0, ""),
        ("", None, "r"),
        ("", None, "cart"),
        ("purchase", 1.0, "r"),
    ]
    prints = {NewEvent.create("i", None, "e", 5.0, *extra).fingerprint for extra in extras}
    assert len(prints) == len(extras)


def test_equal_values_have_one_fingerprint() -> None:
    assert NewEvent.create("i", None, "e", 5.0, value=1) == NewEvent.create("i", None, "e", 5.0, value=1.0)
    assert NewEvent.create("i", None, "e", 5.0, value=-0.0).fingerprint == (
        NewEvent.create("i", None, "e", 5.0, value=0.0).fingerprint
    )
