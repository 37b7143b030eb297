"""The audit fails for known vulnerabilities only."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

AUDIT = runpy.run_path(str(Path(__file__).parents[2] / ".ci" / "audit.py"))
SKIPPED = {"name": "a", "skip_reason": "not found"}
CLEAN = {"name": "b", "version": "1", "vulns": []}
VULNERABLE = {"name": "c", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}


def test_known_vulnerability_fails_and_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert AUDIT["report"]([SKIPPED, CLEAN, VULNERABLE]) == 1
    captured = capsys.readouterr()
    assert "c 2: PYSEC-1" in captured.err
    assert "1 of 2 pins vulnerable, 1 unknown" in captured.out


def test_unreachable_database_passes_with_notice(capsys: pytest.CaptureFixture[str]) -> None:
    assert AUDIT["report"]([SKIPPED]) == 0
    assert "NOT AUDITED" in capsys.readouterr().out
    assert AUDIT["report"]([CLEAN]) == 0
