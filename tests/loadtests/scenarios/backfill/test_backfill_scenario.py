"""The backfill scenario as a command, with a few users."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from loadtests.environment.servers import ROOT


def run(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "loadtests.scenarios.backfill.backfill_scenario", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def test_engine_only_measures_both_batch_sizes() -> None:
    result = run("--engine-only", "--users", "40", "--events", "30")
    batches = [value for name, value in result.items() if name.startswith("batches")]
    assert len(batches) == 2
    assert all(each["wall"]["events_per_s"] > 0 and each["cpu"]["events_per_s"] > 0 for each in batches)


def test_backfill_beside_serving_writes_and_audits_snapshots() -> None:
    result = run("--users", "40", "--events", "12", "--seconds", "1", "--rate", "40", "--audited", "10")
    without_load, under_load = result["without_load"], result["under_load"]
    assert (without_load["snapshots"], without_load["events"]) == (40, 480)
    assert under_load["snapshots"] > 0
    assert result["snapshots_audited"] == 10
    assert result["largest_relative_error"] <= 1e-5
