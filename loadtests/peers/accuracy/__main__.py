"""Compare the accuracy of our model with that of other libraries.

    python -m loadtests.peers.accuracy EVENTS --out FOLDER [--models recblr,popularity,item_knn] [--seeds 1,2,3]

All models get the same histories: each user's last event is the test, and the one before it validates. FOLDER gets a
JSON for each model and seed; those that exist are not computed again. The table of means is printed as JSON. The
models sasrec, gsasrec, esasrec and bert4rec are RecTools', which `--peers-python` must have.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

from ingest.command_options import add_read_options, read_options
from loadtests.peers.accuracy.comparison import run_all, summarise
from loadtests.peers.accuracy.rankers import RANKERS, UNSEEDED, RankingJob
from model.training.data.interactions import read_interactions


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("events", type=Path, help="file of events, as for recblr-train train")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument(
        "--models", default=",".join(["recblr", *sorted(UNSEEDED)]), help=f"of {', '.join(RANKERS)}; with commas"
    )
    parser.add_argument("--seeds", default="1,2,3", help="seeds, separated by commas")
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="device of our model"
    )
    parser.add_argument("--teachers", type=int, help="teachers of our model; by default as recblr-train chooses")
    parser.add_argument("--epochs", type=int, help="most epochs of our model; by default as recblr-train chooses")
    parser.add_argument("--max-epochs", type=int, default=200, help="most epochs of a transformer")
    parser.add_argument("--peers-python", default=sys.executable, help="a Python that has RecTools")
    add_read_options(parser)
    options = parser.parse_args(arguments)
    models = options.models.split(",")
    if unknown := sorted(set(models) - set(RANKERS)):
        parser.error(f"unknown models: {', '.join(unknown)}")
    options.out.mkdir(parents=True, exist_ok=True)
    given = {name: getattr(options, name) for name in ("teachers", "epochs") if getattr(options, name) is not None}
    job = RankingJob(
        data=read_interactions([options.events], read_options(options)),
        seed=0,
        folder=options.out,
        device=torch.device(options.device),
        given=given,
        peers_python=options.peers_python,
        max_epochs=options.max_epochs,
    )
    print(json.dumps(summarise(run_all(models, [int(seed) for seed in options.seeds.split(",")], job))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
