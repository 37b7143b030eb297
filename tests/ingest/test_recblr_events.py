"""`recblr-events load` against the real service."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from model.bundle.bundle import write_bundle
from model.config import ModelConfig
from tests.end_to_end.service import KEY, ROOT, RunningService
from tests.model.builders import bundle_of


def load(path: Path, url: str, key: str = KEY) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ingest", "load", str(path), "--url", url, "--give-up", "5"]
    environment = os.environ | {"RECBLR_API_KEY": key}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def test_history_is_loaded_once_in_order_of_time(tmp_path: Path) -> None:
    write_bundle(tmp_path / "v1", bundle_of(ModelConfig(items=20, dim=8)))
    rows = [f"u{n % 3};i{n % 20};{2000 - n}" for n in range(1500)]
    (tmp_path / "history.csv").write_text("\n".join(["visitorid;itemid;timestamp", *rows]))
    with RunningService(tmp_path, f"sqlite:///{tmp_path}/log.db", tmp_path / "v1") as service:
        first = load(tmp_path / "history.csv", service.url)
        assert first.returncode == 0, first.stderr
        assert json.loads(first.stdout.splitlines()[-1])["sent"] == 1500
        assert "separated by ';'" in first.stderr
        (tmp_path / "history.csv.load.json").unlink()
        again = json.loads(load(tmp_path / "history.csv", service.url).stdout.splitlines()[-1])
        assert again == {"sent": 1500, "duplicates": 1500, "resumed": 0, "refused": 0}
        page = service.get("/users/u1/events?limit=1000")["events"]
        assert len(page) == 500
        assert [event["timestamp"] for event in page] == sorted(event["timestamp"] for event in page)


def test_wrong_key_and_unreadable_file_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "broken.csv").write_text("a,b\n1,2\n")
    found = load(tmp_path / "broken.csv", "http://127.0.0.1:9")
    assert (found.returncode, found.stderr.count("\n")) == (2, 1)
    assert "--user-column" in found.stderr
