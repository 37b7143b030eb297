"""The command line: exit codes, and errors as one sentence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from model.training.__main__ import main
from tests.ingest.reading.refused_files import REFUSED
from tests.model.training.histories import SHORT_TRAINING


def test_out_of_memory_exits_with_2_and_advice(
    tmp_path: Path, circle_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", str(circle_file), "--out", str(tmp_path / "run"), *SHORT_TRAINING, "--window", str(10**15)]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert "smaller --batch or --window" in error
    assert error.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in error


def test_missing_package_exits_with_2_and_names_the_extra(tmp_path: Path, circle_file: Path) -> None:
    program = "import sys; sys.modules['torch'] = None; from model.training.__main__ import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "train", str(circle_file), "--out", str(tmp_path / "run")]
    finished = subprocess.run([*command, *SHORT_TRAINING], capture_output=True, text=True, check=False)
    assert finished.returncode == 2
    assert finished.stderr.startswith("error: torch is not installed; install the extra 'train'")
    assert "pip install -e '.[train]'" in finished.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "nowhere.csv", "--out", "run"], "nowhere.csv cannot be read"),
        (
            ["train", "nowhere.csv", "--out", "run", "--dropout", "1"],
            "dropout must be at least 0 and below 1",
        ),
        (["evaluate", "nowhere", "nowhere.csv"], "nowhere"),
        (["export", "mysql://host", "out"], "the state URL must begin with"),
    ],
)
def test_unusable_input_exits_with_2_and_one_sentence(
    tmp_path: Path,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("name", REFUSED)
def test_odd_file_that_is_refused_ends_train_with_2_and_one_sentence(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    case = REFUSED[name]
    (tmp_path / case.name).write_bytes(case.data)
    command = [
        "train",
        str(tmp_path / case.name),
        "--out",
        str(tmp_path / "run"),
        "--bundles",
        str(tmp_path / "models"),
    ]
    assert main([*command, *SHORT_TRAINING, *as_arguments(case.options)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == [case.name]


def as_arguments(options: dict[str, Any]) -> list[str]:
    names = {"max_bad_rows": "skip-bad-rows"}
    return [
        f"--{names.get(name, name.replace('_', '-'))}={','.join(value) if isinstance(value, tuple) else value}"
        for name, value in options.items()
    ]
