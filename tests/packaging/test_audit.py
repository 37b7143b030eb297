"""The audit fails for vulnerabilities, and if nothing was audited."""

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


@pytest.mark.parametrize(("offline", "code"), [("", 1), ("0", 1), ("1", 0)])
def test_database_without_the_packages_fails_unless_offline(
    offline: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AUDIT_OFFLINE", offline)
    assert AUDIT["report"]([SKIPPED]) == code
    assert "NOT AUDITED" in capsys.readouterr().err
    assert AUDIT["not_audited"]("a reason") == code
    assert AUDIT["report"]([CLEAN]) == 0
