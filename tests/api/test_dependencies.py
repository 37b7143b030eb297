"""Dependencies of the routes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.api.app_harness import AppHarness


@pytest.mark.parametrize("path", ["/v1/model", "/v1/users/u", "/v1/users/u/recommendations"])
def test_route_before_start_is_503(tmp_path: Path, path: str) -> None:
    harness = AppHarness(tmp_path)
    assert harness.refused(503, harness.get(path))["code"] == "not_ready"
    harness.close()
