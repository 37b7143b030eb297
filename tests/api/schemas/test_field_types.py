"""Types of single request fields."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.api.app_harness import AppHarness, send_event


@pytest.mark.parametrize(
    ("sent", "seconds"),
    [
        (978300760, 978300760.0),
        (0, 0.0),
        (1.5, 1.5),
        ("2001-01-01T00:00:00", datetime(2001, 1, 1, tzinfo=UTC).timestamp()),
        ("2001-01-01T02:00:00+02:00", datetime(2001, 1, 1, tzinfo=UTC).timestamp()),
        ("2001-01-01T00:00:00Z", datetime(2001, 1, 1, tzinfo=UTC).timestamp()),
        ("9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()),
    ],
)
def test_timestamp_is_accepted_as_number_or_iso_string(harness: AppHarness, sent: Any, seconds: float) -> None:
    send_event(harness, "1", timestamp=sent)
    assert harness.get("/v1/users/u").json()["last_event"]["timestamp"] == seconds
