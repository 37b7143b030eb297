"""`python -m tests.faults.simulation SEED`: one seed once more, with what happened and what was wrong."""

from __future__ import annotations

import sys

from tests.faults.simulation.run import Outcome, simulate


def main(seed: int) -> Outcome:
    outcome = simulate(seed)
    print(f"seed {seed}, {outcome.seconds} simulated seconds")
    for what, times in sorted(outcome.counts.items()):
        print(f"{times:6} {what}")
    print("\n".join(outcome.wrong) or "nothing was wrong")
    return outcome


if __name__ == "__main__":
    sys.exit(1 if main(int(sys.argv[1])).wrong else 0)
