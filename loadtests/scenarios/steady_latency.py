"""Latency at a steady rate: events, mixed traffic, and a soak."""

from __future__ import annotations

from dataclasses import replace
from statistics import median
from typing import Any

from loadtests.generator.experiment import (
    PREPARED_REQUESTS,
    Options,
    Run,
    errors_of,
    measure_closed_loop,
    measure_open_loop,
    service_under_test,
)
from loadtests.generator.workload import event_requests, mixed_requests
from loadtests.scenarios.baselines import empty_fastapi

SOAK_PARTS = 6


def short(options: Options) -> dict[str, Any]:
    """Measure capacity, and latency at 60 % of it, within a minute.

    The empty handler's capacity is measured for comparison.
    """
    events = event_requests(options.histories, 10_000, "short", options.seed)
    brief = replace(options, seconds=6.0, warmup=2.0)
    with service_under_test(options) as own, empty_fastapi() as empty:
        runs = [measure_closed_loop(tested, events, brief, 4.0, f"{tested.name}, events") for tested in (own, empty)]
        rate = min(options.rate, round(0.6 * runs[0]["achieved_per_s"]))
        runs.append(measure_open_loop(own, events, brief, rate, "recblr, events"))
        mixed_traffic = mixed_requests(options.histories, 10_000, "mixed", options.seed)
        runs.append(measure_open_loop(own, mixed_traffic, brief, rate, "recblr, mixed traffic"))
    summary = {
        "recblr_per_s": runs[0]["achieved_per_s"],
        "empty_fastapi_per_s": runs[1]["achieved_per_s"],
        "ratio": round(runs[0]["achieved_per_s"] / max(runs[1]["achieved_per_s"], 1e-9), 3),
        "at_per_s": rate,
        "events_ms": runs[2]["latency_ms"],
        "mixed_ms": runs[3]["latency_ms"],
        "errors": errors_of(runs),
    }
    return {"runs": runs, "summary": summary, "charts": []}


def steady(options: Options) -> dict[str, Any]:
    """Measure events that ask for ten recommendations, at `options.rate`, in several rounds."""
    return _at_steady_rate(options, mixed_traffic=False)


def mixed(options: Options) -> dict[str, Any]:
    """Measure mixed traffic at `options.rate`, in several rounds."""
    return _at_steady_rate(options, mixed_traffic=True)


def soak(options: Options) -> dict[str, Any]:
    """Measure mixed traffic for long, at a fraction of capacity.

    The run has SOAK_PARTS parts with pauses of milliseconds, so that memory and p99 are seen over time.
    """
    requests = mixed_requests(options.histories, 40_000, "soak", options.seed)
    with service_under_test(options) as tested:
        part_seconds = options.seconds / SOAK_PARTS
        at_capacity = measure_closed_loop(tested, requests, options, min(15.0, part_seconds), "capacity")
        rate = round(options.load_fraction * at_capacity["achieved_per_s"])
        parts = []
        for n in range(SOAK_PARTS):
            warmup = options.warmup if n == 0 else 0.1
            part = replace(options, seconds=part_seconds, seed=options.seed + n, warmup=warmup)
            parts.append(measure_open_loop(tested, requests, part, rate, f"part {n + 1} of {SOAK_PARTS}"))
    minutes = [round((n + 0.5) * part_seconds / 60, 2) for n in range(SOAK_PARTS)]
    return {"runs": [at_capacity, *parts], **_soak_results(at_capacity, parts, rate, minutes)}


def _soak_results(at_capacity: Run, parts: list[Run], rate: float, minutes: list[float]) -> dict[str, Any]:
    """Return the summary and charts of a soak.

    `minutes` are the middles of its parts.
    """
    p99 = [part["latency_ms"]["p99"] for part in parts]
    memory = [part["memory_mb"]["server"]["pss"] for part in parts]
    summary = {
        "capacity_per_s": at_capacity["achieved_per_s"],
        "at_per_s": rate,
        "requests": sum(part["requests"] for part in parts),
        "errors": errors_of(parts),
        "p99_ms": p99,
        "last_to_first_p99": round(p99[-1] / p99[0], 3),
        "server_pss_mb": memory,
        "last_to_first_pss": round(memory[-1] / memory[0], 3),
        "redis_pss_mb": [part["memory_mb"]["redis"]["pss"] for part in parts],
        "achieved_per_s": [part["achieved_per_s"] for part in parts],
    }
    charts = [
        {"title": title, "x": "minutes", "y": unit, "lines": {"": list(zip(minutes, values, strict=True))}}
        for title, unit, values in (("Memory of the server", "MB", memory), ("p99 over time", "ms", p99))
    ]
    return {"summary": summary, "charts": charts}


def _at_steady_rate(options: Options, *, mixed_traffic: bool) -> dict[str, Any]:
    make_requests = mixed_requests if mixed_traffic else event_requests
    runs = []
    with service_under_test(options) as tested:
        for n in range(options.rounds):
            seeded = replace(options, seed=options.seed + n)
            requests = make_requests(options.histories, PREPARED_REQUESTS, f"round{n}", seeded.seed)
            runs.append(measure_open_loop(tested, requests, seeded, options.rate))
    summary = {
        "offered_per_s": options.rate,
        "achieved_per_s": median(run["achieved_per_s"] for run in runs),
        **{f"{name}_ms": median(run["latency_ms"][name] for run in runs) for name in ("p50", "p90", "p99", "p99.9")},
        "cpu_us_per_request": {
            name: median(run["cpu_us_per_request"][name] for run in runs) for name in ("server", "redis", "client")
        },
        "errors": errors_of(runs),
        "rounds": options.rounds,
    }
    return {"runs": runs, "summary": summary, "charts": []}
