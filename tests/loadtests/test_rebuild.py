"""The load test of the rebuild, with a store and numbers so small that its figures say nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "loadtests.scenarios.backfill_scenario", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_the_engine_alone() -> None:
    found = run("--engine-only", "--users", "40", "--events", "30")
    batches = [value for name, value in found.items() if name.startswith("batches")]
    assert len(batches) == 2
    assert all(each["wall"]["events_per_s"] > 0 and each["cpu"]["events_per_s"] > 0 for each in batches)


def test_a_rebuild_while_serving() -> None:
    small = ["--users", "40", "--events", "12", "--seconds", "1", "--rate", "40", "--audited", "10"]
    found = run(*small)
    assert (found["quiet"]["snapshots"], found["quiet"]["events"]) == (40, 480)
    assert found["while_serving"]["snapshots"] > 0
    assert found["snapshots_audited"] == 10
    assert found["largest_relative_error"] <= 1e-5
