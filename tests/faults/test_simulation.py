"""The protocol under simulated time and faults, one course of events for each seed; see `simulation/`."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.mode import report, short_or_long
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

# What the seeds together must have met, or they prove nothing.
MET = (
    "answers",
    "audits of a memo",
    "batches refused in part",
    "calls executed after they were given up",
    "calls lost before execution",
    "conflicts",
    "events acknowledged",
    "events deleted",
    "failovers",
    "memos damaged",
    "memos read",
    "memos refused",
    "memos stored",
    "merged events found",
    "merges",
    "models swapped",
    "replies lost",
    "tries failed",
    "users deleted",
    "workers killed",
    "workers stopped for a while",
)


def test_no_seed_loses_or_doubles_an_event_or_makes_an_answer_wrong() -> None:
    seeds = short_or_long(1_000, 10_000)
    counts: Counter[str] = Counter()
    wrong: dict[int, list[str]] = {}
    for seed in range(seeds):
        outcome = simulate(seed)
        counts += outcome.counts
        if outcome.wrong:
            wrong[seed] = outcome.wrong
    report("simulated kills, swaps, failovers and calls that go wrong", seeds=f"0 to {seeds - 1}", **counts)
    again = f"python -m tests.faults.simulation {min(wrong, default='')}"
    assert not wrong, f"{len(wrong)} seeds fail; one of them again: {again}\n{wrong}"
    assert [what for what in MET if counts[what] < seeds // 100] == []


@pytest.mark.parametrize(
    ("mutant", "expected"),
    [
        (NoDedupe, "duplicated"),
        (NoSequenceComparison, "shorter memo"),
        (NoGenerationComparison, "wrong answer"),
        (NoModelComparison, "memos were found damaged"),
        (NoModelComparisonAtAll, "wrong answer"),
    ],
)
def test_without_one_of_the_checks_some_seed_fails(mutant: type[ReferenceStore], expected: str) -> None:
    for seed in range(1_000):
        if any(expected in what for what in simulate(seed, mutant).wrong):
            return
    pytest.fail(f"no seed notices what {mutant.__name__} lacks")


def test_a_seed_takes_the_same_course_in_another_process(capsys: pytest.CaptureFixture[str]) -> None:
    main(8)
    command = [sys.executable, "-m", "tests.faults.simulation", "8"]
    root = Path(__file__).parents[2]
    there = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, check=False)
    assert (there.returncode, there.stdout) == (0, capsys.readouterr().out)
