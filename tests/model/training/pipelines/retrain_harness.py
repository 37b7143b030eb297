"""A small event log and `retrain` on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from model.training.__main__ import main

ITEMS = 12


def circle(users: int, first: int, last: int) -> list[tuple[str, str, float]]:
    """Return events of users who walk one circle of items."""
    return [
        (f"user {user}", f"item {(user + n) % ITEMS}", 1000.0 * n + user)
        for n in range(first, last)
        for user in range(users)
    ]


def run_retrain(folder: Path, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, dict[str, Any], str]:
    """Run `retrain` with a tiny model; return exit code, result and stderr."""
    arguments = ["retrain", "--state-url", f"sqlite:///{folder}/events.db", "--bundles", str(folder / "bundles")]
    arguments += ["--work", str(folder / "work"), "--device", "cpu", "--dim", "8", "--layers", "1", "--window", "16"]
    arguments += ["--batch", "32", "--epochs", "6", "--evaluate-every", "3", "--learning-rate", "0.02"]
    arguments += ["--min-events", "50", "--min-compared", "10", *more]
    code = main(arguments)
    output = capsys.readouterr()
    lines = output.out.splitlines()
    return code, json.loads(lines[-1]) if lines else {}, output.err


def file_contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
