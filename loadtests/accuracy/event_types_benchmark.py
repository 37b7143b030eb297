"""Accuracy of models with event types beside models without.

    python -m loadtests.accuracy.event_types_benchmark [--seeds 1,2,3] [--ml-100k FILE] [--epochs 24] [--dim 32]

Without a file the log is that of a simulated shop, another one for each seed, and purchases are predicted. With
MovieLens-100K's ratings in RecBole's form (`ml-100k.inter`), ratings of 5 are "like", of 1 and 2 "dislike", and likes
are predicted. Both models see the same events and have the same hyperparameters. Prints JSON in the last line.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from loadtests.accuracy.shop_simulator import TYPES, Shop, simulate
from loadtests.accuracy.typed_histories import TypedHistories, train
from loadtests.environment.machine_info import machine_info
from model.training.trainer.hyperparameter_choice import choose_hyperparameters

MODELS = ("single", "typed")


def simulated(shop: Shop) -> tuple[TypedHistories, float]:
    """Simulate a shop.

    Returns its histories, and the oracle's NDCG@10 on its held-out purchases.
    """
    log = simulate(shop)
    histories = TypedHistories.of((log.items + 1).astype(np.int32), log.types, TYPES, log.offsets)
    return histories, float(np.nanmean(log.oracle[histories.held_out("purchase")]))


def movielens(path: Path) -> TypedHistories:
    """Read the ratings of MovieLens-100K as event types.

    Events of equal time keep the file's order.
    """
    columns = np.loadtxt(path, skiprows=1, dtype=np.float64)
    users, items, ratings, times = columns.T
    order = np.lexsort((np.arange(len(users)), times, users))
    rows = (np.unique(items, return_inverse=True)[1] + 1).astype(np.int32)[order]
    types = np.select([ratings == 5, ratings <= 2], [1, 2], 0).astype(np.uint8)[order]
    lengths = np.unique(users, return_counts=True)[1]
    return TypedHistories.of(rows, types, ("view", "like", "dislike"), np.concatenate([[0], np.cumsum(lengths)]))


def compare(histories: TypedHistories, target: str, seed: int, epochs: int, dim: int) -> dict[str, Any]:
    """Compare both models on the held-out events of one type."""
    size = histories.training_data(typed=True).size
    given = {"epochs": epochs, "evaluate_every": max(1, epochs // 8), "seed": seed, "teachers": 0}
    hyperparameters = choose_hyperparameters(size, given)
    found: dict[str, Any] = {"seed": seed, "events": len(histories.held_out(target))}
    for model in MODELS:
        started, typed = time.monotonic(), model == "typed"
        network = train(histories.training_data(typed=typed), hyperparameters, dim)
        found[model] = histories.accuracy(network, target, typed=typed)
        found[model]["training_s"] = round(time.monotonic() - started, 1)
    return found


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Compare for each seed, and return figures and means."""
    target = "purchase" if arguments.ml_100k is None else "like"
    runs = []
    for seed in map(int, arguments.seeds.split(",")):
        if arguments.ml_100k is None:
            histories, oracle = simulated(
                replace(Shop(users=arguments.users, items=arguments.items, clusters=arguments.items // 20), seed=seed)
            )
            runs.append(
                compare(histories, target, seed, arguments.epochs, arguments.dim) | {"oracle_ndcg@10": oracle}
            )
        else:
            runs.append(compare(movielens(arguments.ml_100k), target, seed, arguments.epochs, arguments.dim))
        print(json.dumps(runs[-1]), file=sys.stderr, flush=True)
    means = {model: float(np.mean([run[model]["ndcg@10"] for run in runs])) for model in MODELS}
    return {
        "data": "simulated shop" if arguments.ml_100k is None else "MovieLens-100K",
        "shop": asdict(Shop(users=arguments.users, items=arguments.items, clusters=arguments.items // 20))
        if arguments.ml_100k is None
        else None,
        "target": target,
        "runs": runs,
        "ndcg@10": means,
        "ratio": round(means["typed"] / means["single"], 4),
        "better_seeds": sum(run["typed"]["ndcg@10"] > run["single"]["ndcg@10"] for run in runs),
        "conditions": machine_info(),
    }


def main() -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="1,2,3", help="seeds, separated by commas")
    parser.add_argument("--ml-100k", type=Path, help="file of ratings; without it the shop is simulated")
    parser.add_argument("--users", type=int, default=1000, help="users of the simulated shop")
    parser.add_argument("--items", type=int, default=200, help="items of the simulated shop, 20 a cluster")
    parser.add_argument("--epochs", type=int, default=24, help="passes over the data")
    parser.add_argument("--dim", type=int, default=32, help="width of the models")
    print(json.dumps(measure(parser.parse_args())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
