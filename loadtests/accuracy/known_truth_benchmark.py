"""Accuracy of the default training on made-up logs, beside the oracle's.

    python -m loadtests.accuracy.known_truth_benchmark [--items 10000] [--users 10000] [--seed 1] [-- --device cuda]

Makes up a log, runs `recblr-train train` on it without any other option than those after `--`, and prints the model's
and the oracle's NDCG@10 and HR@10 as JSON in the last line. `informed_ndcg@10` bounds what can be
learnt from the log; it is null for a large one.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from loadtests.accuracy.informed_learner import MAX_ENTRIES, informed_ndcg
from loadtests.accuracy.known_truth import KnownTruth, make_log, oracle_accuracy
from loadtests.environment.machine_info import machine_info


def measure(truth: KnownTruth, options: Sequence[str]) -> dict[str, Any]:
    """Train on a made-up log and compare with its oracle.

    Raises:
        subprocess.CalledProcessError: the training failed.
    """
    log = make_log(truth)
    with tempfile.TemporaryDirectory(prefix="known-truth-") as folder:
        events = Path(folder) / "events.txt"
        log.write(events)
        command = [sys.executable, "-m", "model.training", "train", str(events), "--out", f"{folder}/run", *options]
        started = time.monotonic()
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        seconds = time.monotonic() - started
    trained, oracle = json.loads(done.stdout.splitlines()[-1]), oracle_accuracy(truth, log)
    is_bounded = truth.items * truth.cluster_count <= MAX_ENTRIES
    model = {name: trained[name] for name in oracle}
    return {
        "truth": asdict(truth),
        "options": list(options),
        "events": len(log.items),
        "oracle": oracle,
        "informed_ndcg@10": informed_ndcg(truth, log) if is_bounded else None,
        "model": model,
        "of_oracle": {name: round(model[name] / value, 4) for name, value in oracle.items()},
        "training_s": round(seconds, 1),
        "conditions": machine_info(),
    }


def main() -> int:
    """Run the command; return its exit code."""
    defaults = KnownTruth()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=defaults.items, help="size of the catalogue")
    parser.add_argument("--users", type=int, default=defaults.users, help="number of users")
    parser.add_argument("--events-per-user", type=float, default=defaults.events_per_user, help="mean history")
    parser.add_argument("--clusters", type=int, default=0, help="0: one for 1,000 items, at least 30")
    parser.add_argument("--zipf", type=float, default=defaults.zipf, help="exponent of the popularity in a cluster")
    parser.add_argument("--noise", type=float, default=defaults.noise, help="fraction of uniform events")
    parser.add_argument(
        "--recency", type=float, default=defaults.recency, help="fraction that follows the last event"
    )
    parser.add_argument("--seed", type=int, default=defaults.seed, help="seed of the log")
    parser.add_argument("training", nargs="*", help="options of recblr-train, after --")
    given = vars(parser.parse_args())
    options = given.pop("training")
    print(json.dumps(measure(KnownTruth(**given), options)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
