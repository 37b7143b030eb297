from __future__ import annotations

import logging

import pytest

from service.core.log_throttle import ThrottledLogger


def test_one_warning_per_code_and_second_is_logged_with_the_suppressed_ones_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 0.0
    throttled = ThrottledLogger(logging.getLogger("test"), clock=lambda: now)
    for now in (0.0, 0.5, 0.99, 1.0, 1.5, 3.0):
        throttled.warn("overloaded", f"at {now}", route="/v1/events")
        if now == 0.5:
            throttled.warn("store_unavailable", "another code")
    logged = [(record.message, record.__dict__["code"], record.__dict__["suppressed"]) for record in caplog.records]
    assert logged == [
        ("at 0.0", "overloaded", 0),
        ("another code", "store_unavailable", 0),
        ("at 1.0", "overloaded", 2),
        ("at 3.0", "overloaded", 1),
    ]
    assert caplog.records[0].__dict__["route"] == "/v1/events"
