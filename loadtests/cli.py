"""Measure the service in one load scenario (Linux).

    python -m loadtests.cli --scenario short                             45 seconds; the same as `make loadtest`
    python -m loadtests.cli --scenario baselines                         capacity beside an empty FastAPI handler
    python -m loadtests.cli --scenario steady --rate 1000 --seconds 30   latency at a steady rate
    python -m loadtests.cli --scenario large_catalogue --rate 500        a million items, one worker and two
    python -m loadtests.cli --scenario scaling                           by history, catalogue, users and workers
    python -m loadtests.cli --scenario cluster                           1 to 12 workers on a Redis Cluster
    python -m loadtests.cli --scenario embedded_store                    SQLite beside Redis, one worker and four
    python -m loadtests.cli --scenario availability --seconds 300        200 flips a second beside filtered questions
    python -m loadtests.cli --scenario filtered_questions --seconds 3    questions with and without 20 filters
    python -m loadtests.cli --scenario availability --fault redis        the same, with kill -9 of Redis in the middle
    python -m loadtests.cli --scenario new_items --rate 300              100,000 new items between two trainings
    python -m loadtests.cli --scenario soak --seconds 1800               70 % of capacity for half an hour
    python -m loadtests.cli --scenario attack --rounds 2                 an ordinary client beside attacks
    python -m loadtests.cli --scenario peers --peers-python PYTHON       beside LitServe and BentoML

Writes SCENARIO.json and SCENARIO.html into --out; the last line printed is JSON with the summary.
`python -m loadtests.measure_all` runs all measurements behind the published figures.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loadtests.environment.machine_info import machine_info
from loadtests.environment.servers import DEMO_BUNDLE, RedisSettings, ServerError
from loadtests.generator.experiment import Options
from loadtests.generator.workload import read_histories, zipf_histories
from loadtests.load_report import write_results
from loadtests.locust import headless
from loadtests.peers import compare
from loadtests.scenarios import (
    attack,
    availability,
    baselines,
    embedded_store,
    large_catalogue,
    new_items,
    scaling,
    steady_latency,
)
from loadtests.scenarios.filtered_questions import throughput_ratios
from model.bundle.bundle import BundleError, load_bundle

SCENARIOS: dict[str, Callable[[Options], dict[str, Any]]] = {
    "short": steady_latency.short,
    "steady": steady_latency.steady,
    "mixed": steady_latency.mixed,
    "soak": steady_latency.soak,
    "locust": headless.locust,
    "baselines": baselines.baselines,
    "peers": compare.peers,
    "scaling": scaling.scaling,
    "history": scaling.history,
    "catalogue": scaling.catalogue,
    "users": scaling.users,
    "workers": scaling.workers,
    "cluster": scaling.cluster,
    "attack": attack.attack,
    "large_catalogue": large_catalogue.large_catalogue,
    "embedded_store": embedded_store.embedded_store,
    "availability": availability.availability,
    "new_items": new_items.new_items,
    "filtered_questions": throughput_ratios.filtered_questions,
}
SYNTHETIC_USERS = 2_000


def main() -> int:
    """Run the command; return its exit code."""
    arguments = _parse_arguments()
    if sys.platform != "linux":
        sys.stderr.write("error: the load generator needs epoll and timerfd; run it on Linux\n")
        return 2
    try:
        options = _options(arguments)
        started_at = time.time()
        results = SCENARIOS[arguments.scenario](options)
    except (ServerError, BundleError, OSError, subprocess.SubprocessError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    result = {
        "scenario": arguments.scenario,
        "command": "python -m loadtests.cli " + shlex.join(sys.argv[1:]),
        "summary": results["summary"],
        "conditions": conditions(options)
        | {"started_at": round(started_at), "took_s": round(time.time() - started_at, 1)},
        **{name: value for name, value in results.items() if name != "summary"},
    }
    json_file, html_file = write_results(arguments.out, arguments.name or arguments.scenario, result)
    summary = {"scenario": arguments.scenario, "summary": results["summary"]}
    print(json.dumps(summary | {"json": str(json_file), "report": str(html_file)}))
    return 0


def conditions(options: Options) -> dict[str, Any]:
    """Return the conditions under which runs are comparable."""
    return machine_info() | {
        "redis_settings": options.redis.options(),
        "bundle": options.bundle.name,
        "items": len(options.item_ids),
        "histories": len(options.histories.of_user),
        "service_settings": dict(options.service),
    }


def _options(arguments: argparse.Namespace) -> Options:
    bundle = arguments.bundle.resolve()
    ids = [item.item_id for item in load_bundle(bundle).items]
    if arguments.data:
        histories = read_histories(arguments.data, ids)
    else:
        histories = zipf_histories(ids, SYNTHETIC_USERS, arguments.seed)
    return Options(
        bundle=bundle,
        item_ids=ids,
        histories=histories,
        redis=RedisSettings(arguments.fsync),
        rate=arguments.rate,
        seconds=arguments.seconds,
        warmup=arguments.warmup,
        rounds=arguments.rounds,
        connections=arguments.connections,
        in_flight=arguments.in_flight,
        load_fraction=arguments.load_fraction,
        poisson=arguments.arrivals == "poisson",
        seed=arguments.seed,
        peers_python=arguments.peers_python,
        peer_threads=arguments.peer_threads,
        sizes=tuple(arguments.sizes),
        only=arguments.only,
        fault=arguments.fault,
        questions=arguments.questions,
        flips=arguments.flips,
        service=dict(setting.split("=", 1) for setting in arguments.set),
    )


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n", maxsplit=1)[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--scenario", choices=SCENARIOS, default="short", help="scenario to measure")
    add("--out", type=Path, default=Path("runs/loadtests"), help="folder of the JSON and the report")
    add("--name", help="name of the JSON and the report, instead of the scenario's")
    add("--bundle", type=Path, default=DEMO_BUNDLE, help="bundle to serve")
    add("--data", type=Path, help="file of `user item item …` lines; without it, synthetic histories")
    add("--rate", type=float, default=1000.0, help="requests per second in open loop")
    add("--seconds", type=float, default=20.0, help="length of one measurement")
    add("--warmup", type=float, default=5.0, help="seconds of load before each measurement, not counted")
    add("--rounds", type=int, default=5, help="measurements of each server or size")
    add("--connections", type=int, default=256, help="maximum number of sockets in open loop")
    add("--in-flight", type=int, default=32, help="requests in flight in closed loop")
    add("--load-fraction", type=float, default=0.7, help="fraction of capacity that a soak offers")
    add("--arrivals", choices=("poisson", "even"), default="poisson", help="distribution of arrivals in open loop")
    add("--fsync", choices=("always", "everysec", "no"), default="always", help="Redis appendfsync")
    add("--sizes", type=int, nargs="*", default=[], help="sizes of a scaling scenario, instead of its own")
    add("--only", default="", help="attacks with this in their name")
    add(
        "--fault", choices=("", *availability.FAULTS), default="", help="what to kill in the middle of `availability`"
    )
    add("--questions", type=float, default=500.0, help="questions per second of `availability`")
    add("--flips", type=float, default=200.0, help="flips per second of `availability`")
    add("--set", nargs="*", default=[], metavar="RECBLR_X=Y", help="settings of the service")
    add("--peers-python", help="a Python that has the extra `peers` (default: this one)")
    add("--peer-threads", type=int, default=1, help="torch threads of a peer's worker")
    add("--seed", type=int, default=1, help="seed of users, items and arrivals")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
