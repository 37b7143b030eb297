"""The bulk rebuild of memos: how fast, and what serving feels of it.

    python -m loadtests.scenarios.backfill_scenario [--store redis|sqlite] [--users 20000] [--events 200] [--rate 300] [--share 1]
    python -m loadtests.scenarios.backfill_scenario --engine-only [--device cuda]     # without a store; needs no fastapi and no redis

A store is filled with users who have no memos, and a service of one worker started on it rebuilds them: the quiet
rate. Then it serves at a steady rate, which is the base line; then a new version of the model is made live under the
same traffic, and serving is measured for as long as the rebuild for it runs. Some requests (--touching) are of the
store's users, each as likely as any: who comes before their memo does waits for a fold of their whole log. The others
are of users with short logs. In the end a sample of memos is audited. Prints JSON in its last line.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

for _library in ("OMP", "OPENBLAS", "MKL"):
    os.environ[f"{_library}_NUM_THREADS"] = "1"

import numpy as np  # noqa: E402

from model.bundle.bundle import Bundle, load_bundle  # noqa: E402
from service.core.engine_requests import EngineRequest  # noqa: E402
from service.core.jobs.backfill_worker import EVENTS_PER_REPLAY  # noqa: E402
from service.core.ports import Engine  # noqa: E402

DEMO = Path(__file__).parents[2] / "bundles" / "ml-1m-demo"
LARGE = 1024  # users in a batch that is as large as helps a GPU
SIZES = {"1M users": 1_000_000, "100M users": 100_000_000}


def engine_only(bundle: Bundle, device: str, users: int, events: int) -> dict[str, Any]:
    """Histories folded by the engine alone, in batches as the service makes them and in large ones."""
    engine = open_engine(bundle, device)
    rng, names = np.random.default_rng(0), [item.item_id for item in bundle.items]
    sampled = rng.integers(0, len(names), (users, events))
    requests = [EngineRequest(None, tuple(names[n] for n in line), None) for line in sampled]
    small = max(1, EVENTS_PER_REPLAY // events)
    found: dict[str, Any] = {"device": device_name(device), "users": users, "events_of_each": events}
    for name, batch in ((f"batches of {small} users, as in the service", small), (f"batches of {LARGE}", LARGE)):
        engine.run(requests[:batch])  # compiles
        wall, cpu = time.perf_counter(), time.process_time()
        for start in range(0, users, batch):
            engine.run(requests[start : start + batch])
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        found[name] = {"wall": rate(users * events, wall), "cpu": rate(users * events, cpu)}
    return found


def rate(events: int, seconds: float) -> dict[str, Any]:
    """Events a second, and how many hours larger stores of 200 events a user would take at this rate."""
    a_second = events / max(seconds, 1e-9)
    hours = {name: round(200 * users / a_second / 3600, 2) for name, users in SIZES.items()}
    return {"seconds": round(seconds, 2), "events_per_s": round(a_second), "hours": hours}


def open_engine(bundle: Bundle, device: str) -> Engine:
    """The engine of the service on this device."""
    if device == "cpu":
        from service.engine.cpu.cpu_engine import CpuEngine

        return CpuEngine(bundle, 1000)
    from service.engine.cuda.cuda_engine import CudaEngine

    return CudaEngine(bundle, 1000, device)


def device_name(device: str) -> str:
    """What was measured."""
    if device == "cpu":
        return "cpu, one core"
    import torch

    return torch.cuda.get_device_name()


def main() -> None:
    """Run one or the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine-only", action="store_true", help="no store and no service")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="of --engine-only")
    parser.add_argument("--bundle", type=Path, default=DEMO)
    parser.add_argument("--store", choices=["redis", "sqlite"], default="redis")
    parser.add_argument("--fsync", choices=["always", "everysec", "no"], default="always", help="of Redis' log")
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--events", type=int, default=200, help="of each user")
    parser.add_argument("--rate", type=float, default=300.0, help="requests per second")
    parser.add_argument("--touching", type=float, default=0.5, help="share of requests of the store's users")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each base line")
    parser.add_argument("--share", type=float, default=1.0, help="RECBLR_BACKFILL_SHARE")
    parser.add_argument("--audited", type=int, default=200, help="users whose memos are audited")
    arguments = parser.parse_args()
    if arguments.engine_only:
        result = engine_only(load_bundle(arguments.bundle), arguments.device, arguments.users, arguments.events)
    else:
        from loadtests.scenarios.backfill_beside_serving import serving

        result = serving(arguments)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
