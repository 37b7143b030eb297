"""Tests of the protocol under simulated time and faults, for many seeds."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.harness.modes import report, short_or_long
from tests.faults.simulation.__main__ import main
from tests.faults.simulation.run import simulate
from tests.store.mutants import (
    NoDedupe,
    NoGenerationComparison,
    NoModelComparison,
    NoModelComparisonAtAll,
    NoSequenceComparison,
)
from tests.store.reference_store import ReferenceStore

pytestmark = pytest.mark.faults

# Occurrences that all seeds together must include, or the test would prove nothing.
REQUIRED = (
    "attempts failed",
    "batches refused in part",
    "calls executed after their timeout",
    "calls lost before execution",
    "conflicts",
    "events acknowledged",
    "events deleted",
    "failovers",
    "merged events found",
    "merges",
    "models switched",
    "replies lost",
    "results",
    "snapshots audited",
    "snapshots damaged",
    "snapshots read",
    "snapshots refused",
    "snapshots stored",
    "users deleted",
    "workers killed",
    "workers paused",
)


def test_no_seed_loses_or_duplicates_an_event_or_returns_a_wrong_result() -> None:
    seeds = short_or_long(1_000, 10_000)
    counts: Counter[str] = Counter()
    violations: dict[int, list[str]] = {}
    for seed in range(seeds):
        outcome = simulate(seed)
        counts += outcome.counts
        if outcome.violations:
            violations[seed] = outcome.violations
    report("simulated kills, switches, failovers and faulty calls", seeds=f"0 to {seeds - 1}", **counts)
    again = f"python -m tests.faults.simulation {min(violations, default='')}"
    assert not violations, f"{len(violations)} seeds fail; to repeat one: {again}\n{violations}"
    assert [name for name in REQUIRED if counts[name] < seeds // 100] == []


@pytest.mark.parametrize(
    ("mutant", "expected"),
    [
        (NoDedupe, "duplicated"),
        (NoSequenceComparison, "shorter snapshot"),
        (NoGenerationComparison, "wrong result"),
        (NoModelComparison, "damaged snapshots were found"),
        (NoModelComparisonAtAll, "wrong result"),
    ],
)
def test_store_without_one_of_the_checks_fails_some_seed(mutant: type[ReferenceStore], expected: str) -> None:
    for seed in range(1_000):
        if any(expected in violation for violation in simulate(seed, mutant).violations):
            return
    pytest.fail(f"no seed detects the check that {mutant.__name__} lacks")


def test_seed_has_the_same_outcome_in_another_process(capsys: pytest.CaptureFixture[str]) -> None:
    main(8)
    command = [sys.executable, "-m", "tests.faults.simulation", "8"]
    root = Path(__file__).parents[3]
    other = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, check=False)
    assert (other.returncode, other.stdout) == (0, capsys.readouterr().out)
