"""Backfill: throughput, and latency of requests served meanwhile.

    python -m loadtests.scenarios.backfill.backfill_scenario [--store redis|sqlite] [--users 20000] [--events 200]
    python -m loadtests.scenarios.backfill.backfill_scenario --engine-only [--device cuda]

A store is seeded with users without snapshots. A service of one worker starts on it and runs a backfill without
other load. The service then serves at a steady rate, which gives the baseline latency. Next a new model version goes
live under the same traffic, and latency is measured while its backfill runs. A fraction of the requests
(--seeded-fraction) are of seeded users: a request that arrives before its user's snapshot replays the whole log. In
the end some snapshots are audited. Prints JSON.

`--engine-only` measures the engine without a store, a service, fastapi or redis.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from loadtests.environment.servers import DEMO_BUNDLE
from loadtests.scenarios.backfill.backfill_throughput import engine_throughput
from model.bundle.bundle import load_bundle


def main() -> None:
    """Run the command."""
    arguments = _parse_arguments()
    if arguments.engine_only:
        with threadpool_limits(limits=1, user_api="blas"):
            bundle = load_bundle(arguments.bundle)
            result = engine_throughput(bundle, arguments.device, arguments.users, arguments.events)
    else:
        from loadtests.scenarios.backfill.backfill_beside_serving import backfill_beside_serving
        from loadtests.scenarios.backfill.backfill_fixture import BackfillOptions

        result = backfill_beside_serving(
            BackfillOptions(
                bundle=arguments.bundle,
                store=arguments.store,
                fsync=arguments.fsync,
                users=arguments.users,
                events=arguments.events,
                rate=arguments.rate,
                seeded_fraction=arguments.seeded_fraction,
                seconds=arguments.seconds,
                share=arguments.share,
                audited=arguments.audited,
            )
        )
    print(json.dumps(result))


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--engine-only", action="store_true", help="measure the engine without a store and a service")
    add("--device", choices=["cpu", "cuda"], default="cpu", help="device of --engine-only")
    add("--bundle", type=Path, default=DEMO_BUNDLE, help="bundle to serve")
    add("--store", choices=["redis", "sqlite"], default="redis", help="backend of the event log")
    add("--fsync", choices=["always", "everysec", "no"], default="always", help="Redis appendfsync")
    add("--users", type=int, default=20_000, help="users to seed")
    add("--events", type=int, default=200, help="events of each seeded user")
    add("--rate", type=float, default=300.0, help="requests per second")
    add("--seeded-fraction", type=float, default=0.5, help="fraction of requests of seeded users")
    add("--seconds", type=float, default=30.0, help="length of each baseline")
    add("--share", type=float, default=1.0, help="RECBLR_BACKFILL_SHARE of the service")
    add("--audited", type=int, default=200, help="snapshots to audit")
    return parser.parse_args()


if __name__ == "__main__":
    main()
