"""The command `nightly`: its times, and the command of the compose file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from model.training.__main__ import main
from model.training.cli.nightly_retrain_command import _next_time
from tests.environment import ROOT
from tests.model.training.logs import append
from tests.model.training.pipelines.retrain_harness import circle
from tests.servers import RedisServer
from tests.store.backends import RedisBackend


@pytest.mark.parametrize(
    ("now", "expected"),
    [("2026-05-01T02:59", "2026-05-01T03:00"), ("2026-05-01T03:00", "2026-05-02T03:00")],
)
def test_next_run_is_at_the_time_of_day(now: str, expected: str) -> None:
    found = _next_time(datetime.fromisoformat(now).replace(tzinfo=UTC), "03:00")
    assert found == datetime.fromisoformat(expected).replace(tzinfo=UTC)


def test_wrong_time_of_day_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["nightly", "--at", "25:00"])
    assert "must be a time of day" in capsys.readouterr().err


def test_command_of_the_compose_file_publishes_and_has_an_exit_code(tmp_path: Path, log_redis: RedisServer) -> None:
    """The command runs once, outside a container, on folders of the test."""
    backend = RedisBackend(log_redis)
    with backend.client() as client:
        client.flushall()
    append(backend, circle(12, 0, 16))
    service = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["retrain"]
    words = [str(word) for word in service["command"]]
    assert service["environment"]["RECBLR_STATE_URL"].endswith("@redis:6379/0")
    replaced = {"/bundles": str(tmp_path / "bundles")}
    environment = os.environ | {"RECBLR_STATE_URL": backend.url}
    words = [replaced.get(word, word.replace("/runs/", f"{tmp_path}/")) for word in words]
    command = [sys.executable, "-m", "model.training", words[0], "--now", "--once", *words[1:]]
    small = ["--dim", "8", "--layers", "1", "--window", "16", "--epochs", "2", "--min-events", "50"]
    done = subprocess.run(
        [*command, *small], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert (tmp_path / "bundles" / result["version"] / "manifest.json").exists()
    assert 'outcome{outcome="published"} 1.0' in (tmp_path / "retrain.prom").read_text()
    again = subprocess.run(
        [*command, *small], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert again.returncode == 3, again.stderr  # no event is newer
