"""Backfill throughput of the engine alone."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from model.bundle.bundle import Bundle
from service.core.engine_requests import EngineRequest
from service.core.jobs.backfill_worker import EVENTS_PER_REPLAY
from service.core.ports import Engine

EVENTS_KEPT = 1000
# A GPU gains nothing from more users in one batch.
LARGE_BATCH = 1024
STORE_SIZES = {"1M users": 1_000_000, "100M users": 100_000_000}
_EVENTS_PER_USER = 200


def engine_throughput(bundle: Bundle, device: str, users: int, events: int) -> dict[str, Any]:
    """Replay random histories in the service's batches, and in large ones.

    Args:
        bundle: the model.
        device: "cpu" for the default engine, "cuda" for the engine on a GPU.
        users: number of histories.
        events: length of each history.
    """
    engine = open_engine(bundle, device)
    rng, names = np.random.default_rng(0), [item.item_id for item in bundle.items]
    histories = rng.integers(0, len(names), (users, events))
    requests = [EngineRequest(None, tuple(names[n] for n in history), None) for history in histories]
    service_batch = max(1, EVENTS_PER_REPLAY // events)
    batches = {
        f"batches of {service_batch} users, as in the service": service_batch,
        f"batches of {LARGE_BATCH}": LARGE_BATCH,
    }
    results: dict[str, Any] = {"device": device_name(device), "users": users, "events_of_each": events}
    for name, batch in batches.items():
        engine.run(requests[:batch])  # compile
        wall_before, cpu_before = time.perf_counter(), time.process_time()
        for start in range(0, users, batch):
            engine.run(requests[start : start + batch])
        wall, cpu = time.perf_counter() - wall_before, time.process_time() - cpu_before
        results[name] = {"wall": throughput(users * events, wall), "cpu": throughput(users * events, cpu)}
    return results


def throughput(events: int, seconds: float) -> dict[str, Any]:
    """Return events per second, and the hours for larger stores.

    The larger stores have 200 events per user.
    """
    events_per_s = events / max(seconds, 1e-9)
    hours = {name: round(_EVENTS_PER_USER * users / events_per_s / 3600, 2) for name, users in STORE_SIZES.items()}
    return {"seconds": round(seconds, 2), "events_per_s": round(events_per_s), "hours": hours}


def open_engine(bundle: Bundle, device: str) -> Engine:
    """Return the engine that the service would use on `device`."""
    if device == "cpu":
        from service.engine.cpu.cpu_engine import CpuEngine

        return CpuEngine(bundle, EVENTS_KEPT)
    from service.engine.cuda.cuda_engine import CudaEngine

    return CudaEngine(bundle, EVENTS_KEPT, device)


def device_name(device: str) -> str:
    """Return the name of the device for the results."""
    if device == "cpu":
        return "cpu, one core"
    import torch

    return torch.cuda.get_device_name()
