"""Attacks on a small server."""

from __future__ import annotations

import time

import pytest

from loadtests.generator import attacks
from tests.attack.raw_server import RawServer


@pytest.mark.parametrize("name", sorted(attacks.ATTACKS))
def test_attack_sends_and_ends_in_time(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(attacks, "SILENT", 5)
    monkeypatch.setattr(attacks, "SLOW", 5)
    with RawServer() as server:
        assert attacks.ATTACKS[name](server.port, time.monotonic() + 0.5) > 0
    assert capsys.readouterr().out == "ready\n"
