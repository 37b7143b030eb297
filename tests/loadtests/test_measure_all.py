"""Commands of the measurements, and the published results."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from loadtests.cli import SCENARIOS
from loadtests.environment.servers import ROOT
from loadtests.measure_all import MEASUREMENTS, ON_REQUEST, RESULTS, command_of, read_results
from loadtests.targets import TARGETS, as_table

FOLDERS = [ROOT / RESULTS, ROOT / RESULTS / "second-machine"]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_published_table_has_the_figures_of_the_published_results(folder: Path) -> None:
    assert (folder / "table.md").read_text() == as_table(read_results(folder))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_measurement_is_published_and_every_target_measured(folder: Path) -> None:
    assert read_results(folder).keys() == {*MEASUREMENTS, *ON_REQUEST}
    assert "not measured" not in (folder / "table.md").read_text()
    assert {target.source for target in TARGETS} <= MEASUREMENTS.keys()


@pytest.mark.parametrize("name", [*MEASUREMENTS, *ON_REQUEST])
def test_command_runs_a_known_scenario(name: str) -> None:
    command = command_of(name, Path("out"))
    if name == "engine":
        assert command[2] == "loadtests.micro.engine_benchmark"
    else:
        assert command[4] in SCENARIOS
        assert command[4] == name or name in ON_REQUEST
    assert command[-2:] == ["--out", "out"]


def test_short_options_come_last_and_override_others() -> None:
    command = command_of("soak", Path("out"), short=True)
    assert command[-2:] == ["--seconds", "24"]
    assert "--sizes" in command_of("catalogue", Path("out"), short=True)
    assert "--rounds" not in command_of("engine", Path("out"), short=True)


def test_python_of_the_peers_is_passed_to_their_scenario_alone() -> None:
    assert "python-of-peers" in command_of("peers", Path("out"), peers_python="python-of-peers")
    assert "python-of-peers" not in command_of("soak", Path("out"), peers_python="python-of-peers")


def test_only_without_names_writes_the_table_alone(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "loadtests.measure_all", "--only", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["table.md"]
    assert (tmp_path / "table.md").read_text() == as_table({})
