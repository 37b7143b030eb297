"""Tests of the desired state: stored form, and users of A/B tests."""

from __future__ import annotations

import json

import pytest

from service.core.rollout.desired_state import ABTest, DesiredState, Serving, decode_desired_state

IDLE = DesiredState(Serving("1"), False, ("2026-01-01", "1"))
PREPARING = DesiredState(
    Serving("1"), True, ("2026-01-01", "1"), Serving("1", ABTest("2", 0.25, "salt")), "worker 7", "a1b2c3d4"
)


@pytest.mark.parametrize("state", [IDLE, PREPARING])
def test_decoding_returns_what_was_encoded(state: DesiredState) -> None:
    assert decode_desired_state(state.encode()) == state


@pytest.mark.parametrize("change", [{"format": 2}, {"newest": None}, {"serving": {"live": "1"}}, {"coming": "2"}])
def test_record_of_another_format_is_not_decoded(change: dict[str, object]) -> None:
    assert decode_desired_state(json.dumps({**json.loads(IDLE.encode()), **change})) is None


@pytest.mark.parametrize("share", ["0", "1", "-0.5", "NaN"])
def test_record_with_impossible_share_is_not_decoded(share: str) -> None:
    assert decode_desired_state(PREPARING.encode().replace("0.25", share)) is None


def test_assignment_of_users_never_changes() -> None:
    """Users stay in a running test when the service is upgraded."""
    test = ABTest("2", 0.5, "0123456789abcdef")
    users = [user for user in map(str, range(16)) if test.includes(user)]
    assert users == [
        "0",
        "2",
        "3",
        "6",
        "8",
        "9",
        "10",
        "12",
        "13",
        "14",
    ]
    assert not any(ABTest("2", 1e-12, "x").includes(str(n)) for n in range(1000))
    assert ABTest("2", 0.5, "x").includes("\ud800") in (True, False)
