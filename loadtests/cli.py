"""Run a load test against servers that it starts itself, on this machine, and stops again (Linux).

    python -m loadtests.cli --scenario short                            about 45 seconds; what `make loadtest` does
    python -m loadtests.cli --scenario floors                           throughput beside an empty FastAPI handler
    python -m loadtests.cli --scenario peers --peers-python PYTHON      beside LitServe and BentoML
    python -m loadtests.cli --scenario rate --rate 1000 --seconds 30    latency at a steady rate
    python -m loadtests.cli --scenario million --rate 500               a large catalogue, one worker and two
    python -m loadtests.cli --scenario growth                           history, catalogue, users and workers
    python -m loadtests.cli --scenario soak --seconds 1800              70 % of capacity for half an hour

A run writes SCENARIO.json and SCENARIO.html into --out; the last line printed is JSON with the summary.
`python -m loadtests.measure_all` runs all that the README's figures come from.
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

from loadtests.environment.machine_info import machine
from loadtests.environment.servers import ROOT, RedisSettings, ServerFailed
from loadtests.generator.experiment import Options
from loadtests.generator.workload import read_histories, zipf_histories
from loadtests.load_report import write_results
from loadtests.locust import headless
from loadtests.peers import compare
from loadtests.scenarios import baselines, large_catalogue, scaling, steady
from model.bundle.bundle import BundleError, load_bundle

SCENARIOS: dict[str, Callable[[Options], dict[str, Any]]] = {
    "short": steady.short,
    "rate": steady.rate,
    "mixed": steady.mixed,
    "soak": steady.soak,
    "locust": headless.locust,
    "floors": baselines.floors,
    "peers": compare.peers,
    "growth": scaling.everything,
    "history": scaling.history,
    "catalogue": scaling.catalogue,
    "million": large_catalogue.million,
    "users": scaling.users,
    "workers": scaling.workers,
}


def main() -> int:
    """The command; returns its exit code."""
    chosen = _arguments()
    if sys.platform != "linux":
        sys.stderr.write("error: the load tests read /proc and wait on a timerfd; run them on Linux\n")
        return 2
    try:
        options = _options(chosen)
        started = time.time()
        outcome = SCENARIOS[chosen.scenario](options)
    except (ServerFailed, BundleError, OSError, subprocess.SubprocessError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    result = {
        "scenario": chosen.scenario,
        "command": "python -m loadtests.cli " + shlex.join(sys.argv[1:]),
        "summary": outcome["summary"],
        "conditions": conditions(options) | {"began": round(started), "took_s": round(time.time() - started, 1)},
        **{name: value for name, value in outcome.items() if name != "summary"},
    }
    as_json, as_html = write_results(chosen.out, chosen.name or chosen.scenario, result)
    last = {"scenario": chosen.scenario, "summary": outcome["summary"], "json": str(as_json), "report": str(as_html)}
    print(json.dumps(last))
    return 0


def conditions(options: Options) -> dict[str, Any]:
    """What a reader must know to compare this run with another."""
    return machine() | {
        "redis_settings": options.redis.options(),
        "bundle": options.bundle.name,
        "items": len(options.item_ids),
        "histories": len(options.histories.of_user),
        "service_settings": dict(options.service),
    }


def _options(chosen: argparse.Namespace) -> Options:
    bundle = chosen.bundle.resolve()
    ids = [item.item_id for item in load_bundle(bundle).items]
    histories = read_histories(chosen.data, ids) if chosen.data else zipf_histories(ids, 2_000, chosen.seed)
    return Options(
        bundle=bundle,
        item_ids=ids,
        histories=histories,
        redis=RedisSettings(chosen.fsync),
        rate=chosen.rate,
        seconds=chosen.seconds,
        warmup=chosen.warmup,
        rounds=chosen.rounds,
        connections=chosen.connections,
        saturating=chosen.saturating,
        share=chosen.share,
        poisson=chosen.arrivals == "poisson",
        seed=chosen.seed,
        peers_python=chosen.peers_python,
        peer_threads=chosen.peer_threads,
        sizes=tuple(chosen.sizes),
        service=dict(setting.split("=", 1) for setting in chosen.set),
    )


def _arguments() -> argparse.Namespace:
    kinds = argparse.ArgumentDefaultsHelpFormatter
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0], formatter_class=kinds)
    add = parser.add_argument
    add("--scenario", choices=SCENARIOS, default="short", help="what to measure")
    add("--out", type=Path, default=Path("runs/loadtests"), help="folder of the JSON and the report")
    add("--name", help="of the JSON and the report, instead of the scenario's")
    add("--bundle", type=Path, default=ROOT / "bundles" / "ml-1m-demo", help="the model to serve")
    add("--data", type=Path, help="real histories (`user item item …` lines); without: synthetic, Zipf")
    add("--rate", type=float, default=1000.0, help="requests per second in open loop")
    add("--seconds", type=float, default=20.0, help="length of one measurement")
    add("--warmup", type=float, default=5.0, help="seconds of the same load before it, not counted")
    add("--rounds", type=int, default=5, help="measurements of each thing, in turns where there are several")
    add("--connections", type=int, default=256, help="most sockets in open loop")
    add("--saturating", type=int, default=32, help="requests under way in closed loop")
    add("--share", type=float, default=0.7, help="of its capacity that a soak loads the service with")
    add("--arrivals", choices=("poisson", "even"), default="poisson", help="independent users, or even steps")
    add("--fsync", choices=("always", "everysec", "no"), default="always", help="of Redis' log")
    add("--sizes", type=int, nargs="*", default=[], help="sizes for a growth scenario, instead of its own")
    add("--set", nargs="*", default=[], metavar="RECBLR_X=Y", help="settings of the service")
    add("--peers-python", help="a Python that has the extra `peers` (default: this one)")
    add("--peer-threads", type=int, default=1, help="torch threads of a peer's worker")
    add("--seed", type=int, default=1, help="of users, items and arrivals")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
