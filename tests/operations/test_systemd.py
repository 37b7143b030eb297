"""The unit of docs/operations/systemd.md."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import httpx

from service.api_keys import digest_of
from tests.deployments import wait_for
from tests.docs.pages import ROOT, replaced, text_under
from tests.end_to_end.service import KEY
from tests.environment import controlled
from tests.servers import free_port

PAGE = ROOT / "docs" / "operations" / "systemd.md"
HEADING = "systemd, without make"
SETTINGS, UNIT = 1, 2  # numbers of the page's blocks
SERVE = Path(sys.executable).parent / "recblr-serve"
INSTALLED = "/srv/recblr/.venv/bin/recblr-serve"
# systemd's own measure, from 0 to 10; a service without any of its protections has 9.6.
MAX_EXPOSURE = 4.5
STOP_SECONDS = 20  # of the service


def unit() -> dict[str, list[str]]:
    """Return the unit's settings by name."""
    found = defaultdict(list)
    for name, value in re.findall(r"^(\w+)=(.*)$", text_under(PAGE, HEADING, UNIT), re.MULTILINE):
        found[name].append(value)
    return found


def analyze(*arguments: object) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        raise RuntimeError("systemd-analyze is not installed; `make programs` installs it")
    return subprocess.run(["systemd-analyze", *map(str, arguments)], capture_output=True, text=True, check=False)


def test_unit_has_no_fault_and_few_rights(tmp_path: Path) -> None:
    file = tmp_path / "recblr.service"
    file.write_text(replaced(text_under(PAGE, HEADING, UNIT), {INSTALLED: SERVE}))
    verified = analyze("verify", file)
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")
    rated = analyze("security", "--offline=true", "--no-pager", file)
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", rated.stdout)
    assert exposure is not None, rated.stdout + rated.stderr
    assert float(exposure[1]) <= MAX_EXPOSURE, rated.stdout


def test_misspelt_setting_would_be_found(tmp_path: Path) -> None:
    file = tmp_path / "recblr.service"
    text = replaced(text_under(PAGE, HEADING, UNIT), {INSTALLED: SERVE, "KillMode": "KilMode"})
    file.write_text(text)
    assert "KilMode" in analyze("verify", file).stderr


def test_units_command_serves_with_its_settings_and_stops_in_time(tmp_path: Path) -> None:
    settings = unit()
    [command], [folder], [limit] = (settings[name] for name in ("ExecStart", "WorkingDirectory", "LimitNOFILE"))
    assert settings["KillMode"] == ["mixed"]  # SIGTERM for the main process alone, as below
    assert int(settings["TimeoutStopSec"][0]) > STOP_SECONDS
    state = tmp_path / folder.rpartition("/")[2]
    state.mkdir()
    port = free_port()
    names = {folder: state, "/srv/recblr/source": ROOT, "sha256:…": f"sha256:{digest_of(KEY.encode()).hex()}"}
    lines = replaced(text_under(PAGE, HEADING, SETTINGS), names).splitlines() + settings["Environment"]
    environment = dict(line.split("=", 1) for line in lines) | {"RECBLR_PORT": str(port)}
    environment["NUMBA_CACHE_DIR"] = os.environ.get("NUMBA_CACHE_DIR", "")  # compiled by other tests before
    script = f"ulimit -n {limit} 2>/dev/null; umask {settings['UMask'][0]}; exec {shlex.quote(str(SERVE))}"
    assert command == INSTALLED
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            ["bash", "-c", script], cwd=state, env=controlled(os.environ) | environment, stdout=log, stderr=log
        )
    try:
        wait_for("the service", lambda: process.poll() is not None or is_ready(port), 120.0)
        assert process.poll() is None, (tmp_path / "log").read_text()
        assert httpx.get(f"http://127.0.0.1:{port}/v1/model", headers={"X-API-Key": KEY}).status_code == 200
        assert (state / "recblr.db").stat().st_mode & 0o077 == 0
    finally:
        process.terminate()
        assert process.wait(timeout=int(settings["TimeoutStopSec"][0])) == 0


def is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
    except httpx.TransportError:
        return False
