"""The command line: one scenario from start to end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from loadtests.environment.servers import ROOT


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "loadtests.cli", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)


def test_mixed_traffic_at_a_steady_rate_is_served_without_errors(tmp_path: Path) -> None:
    options = ["--rounds", "1", "--rate", "60", "--seconds", "1", "--warmup", "0.2", "--out", str(tmp_path)]
    done = run("--scenario", "mixed", *options)
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout.splitlines()[-1])
    assert printed["summary"]["offered_per_s"] == 60
    assert printed["summary"]["errors"] == []
    result = json.loads((tmp_path / "mixed.json").read_text())
    assert result["summary"] == printed["summary"]
    assert result["conditions"]["redis_settings"]["appendfsync"] == "always"
    assert {"server", "redis", "client"} == result["runs"][0]["cpu_us_per_request"].keys()
    assert (tmp_path / "mixed.html").stat().st_size > 0


def test_unreadable_bundle_is_reported_in_one_line(tmp_path: Path) -> None:
    done = run("--bundle", str(tmp_path), "--out", str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
