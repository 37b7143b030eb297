"""The scenario of attacks, for a moment."""

from __future__ import annotations

import pytest

from loadtests.environment.servers import DEMO_BUNDLE, RedisSettings
from loadtests.generator.experiment import Options
from loadtests.generator.workload import zipf_histories
from loadtests.scenarios import attack
from loadtests.scenarios.attack import ATTACKED, CONTROL, QUIET, summary
from model.bundle.bundle import load_bundle


def test_client_is_measured_in_quiet_and_beside_control_and_attack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attack, "_RECOVERY_SECONDS", 0.0)
    monkeypatch.setattr(attack, "_REST_SECONDS", 0.0)
    item_ids = [item.item_id for item in load_bundle(DEMO_BUNDLE).items]
    options = Options(
        DEMO_BUNDLE,
        item_ids,
        zipf_histories(item_ids, 20, 1),
        RedisSettings("no"),
        rate=50.0,
        seconds=0.5,
        rounds=1,
        only="upgrades",
    )
    found = attack.attack(options)["summary"]
    [(name, measured)] = found["attacks"].items()
    assert name == "upgrades"
    assert measured["errors"] == found["errors"] == 0
    assert measured["sent"] > 0
    assert set(measured["ms"]) == set(measured["cores"]) == {QUIET, CONTROL, ATTACKED}
    assert found["largest_p99_ratio"] == measured["p99_to_quiet"] > 0
    assert found["largest_p99_ratio_to_control"] == measured["p99_to_control"] > 0
    assert measured["loop_wall_ms"] > 0
    assert set(measured["loop_cpu_during_request_ms"]) == {QUIET, CONTROL, ATTACKED}
    assert measured["work_p99_to_quiet"] > 0
    assert found["memory_mb"]["highest"] >= found["memory_mb"]["before"] > 0


def test_summary_has_the_worst_of_each_figure() -> None:
    names = ("p99_to_quiet", "p99_to_control", "work_p99_to_quiet", "memory_ratio", "loop_cpu_ms", "errors")
    first, second = (1.0, 9.0, 4.0, 1.1, 5.0, 1), (3.0, 2.0, 1.0, 1.0, 7.0, 2)
    assert summary({str(each): dict(zip(names, each, strict=True)) for each in (first, second)}) == {
        "largest_p99_ratio": 3.0,
        "largest_p99_ratio_to_control": 9.0,
        "largest_work_p99_ratio": 4.0,
        "largest_memory_ratio": 1.1,
        "longest_loop_cpu_ms": 7.0,
        "errors": 3,
    }
