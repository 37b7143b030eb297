"""The measurement of the event loop, for one request."""

from __future__ import annotations

import json
import sys

import pytest

from loadtests.micro import loop_time


@pytest.mark.parametrize("store", ["sqlite", "redis"])
def test_longest_callback_of_a_request_is_named(
    store: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--store", store, "--repeat", "1", "--only", "page of 1,000 events"]
    monkeypatch.setattr(sys, "argv", ["loop_time", *arguments])
    assert loop_time.main() == 0
    line, last = capsys.readouterr().out.splitlines()
    [row] = json.loads(last)["requests"]
    assert row["request"] in line
    assert row["status"] == 200
    assert 0 < row["cpu_ms"] <= row["wall_ms"] + 1
    assert row["callback"]
    assert row["redis_ms"] == 0 or store == "redis"  # only commands of more than a millisecond are known
