"""Online results equal the offline evaluation of the same bundle."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from model.bundle.bundle import write_bundle
from model.config import ModelConfig
from tests.end_to_end.service import KEY, ROOT, RunningService
from tests.model.builders import bundle_of
from tests.servers import free_port

USERS, ITEMS, LAST = 30, 40, 10


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "bundle", bundle_of(ModelConfig(items=ITEMS, dim=8), seed=3))
    return tmp_path / "bundle"


@pytest.fixture
def histories(tmp_path: Path) -> list[list[str]]:
    """4 to 12 items per user; the last may be a repetition."""
    rng = np.random.default_rng(11)
    return [[f"i{row}" for row in rng.integers(1, ITEMS + 1, rng.integers(4, 13))] for _ in range(USERS)]


@pytest.fixture
def data(tmp_path: Path, histories: list[list[str]]) -> Path:
    path = tmp_path / "histories.txt"
    path.write_text("".join(f"u{user} {' '.join(items)}\n" for user, items in enumerate(histories)))
    return path


def replay(data: Path, bundle: Path, url: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "loadtests.offline_parity", str(data), "--bundle", str(bundle), "--url", url]
    command += ["--api-key", KEY, "--users", str(USERS), "--last", str(LAST)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)


def test_online_metrics_equal_offline_metrics(
    tmp_path: Path, state_url: str, bundle: Path, data: Path, histories: list[list[str]]
) -> None:
    with RunningService(tmp_path, state_url, bundle) as service:
        done = replay(data, bundle, service.url)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    events = sum(min(len(items), LAST) for items in histories)
    assert (result["version"], result["users"], result["events"]) == ("v1", USERS, events)
    assert result["online"].keys() == {"hr@10", "ndcg@10", "masked_hr@10", "masked_ndcg@10"}
    assert result["online"] == pytest.approx(result["offline"], abs=0.001)
    assert result["largest_difference"] <= 0.001
    assert all(0 < value < 1 for value in result["online"].values())  # not trivially equal
    assert result["online"]["ndcg@10"] != result["online"]["masked_ndcg@10"]


def test_unreachable_server_exits_with_one_error_line(bundle: Path, data: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    done = replay(data, bundle, url)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if "error" in line.lower()]
    assert len(errors) == 1
    assert errors[0].startswith("error: ")
    assert errors[0].endswith(f"; is the server at {url} up?")
