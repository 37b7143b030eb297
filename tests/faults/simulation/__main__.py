"""Repeat one seed of the simulation: `python -m tests.faults.simulation SEED`."""

from __future__ import annotations

import sys

from tests.faults.simulation.run import Outcome, simulate


def main(seed: int) -> Outcome:
    outcome = simulate(seed)
    print(f"seed {seed}, {outcome.seconds} simulated seconds")
    for occurrence, count in sorted(outcome.counts.items()):
        print(f"{count:6} {occurrence}")
    print("\n".join(outcome.violations) or "no violations")
    return outcome


if __name__ == "__main__":
    sys.exit(1 if main(int(sys.argv[1])).violations else 0)
