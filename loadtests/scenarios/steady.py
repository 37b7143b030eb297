"""Traffic at a steady rate against the service: events alone, everything mixed, and for long."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from loadtests.environment.servers import recblr, redis_server
from loadtests.generator.experiment import Options, Target, closed_loop, open_loop
from loadtests.generator.workload import event_requests, mixed_requests
from loadtests.scenarios.baselines import empty_fastapi


def short(options: Options) -> dict[str, Any]:
    """A first impression within a minute: capacity beside the empty handler, then mixed traffic at 60 % of it."""
    events = event_requests(options.histories, 10_000, "short", options.seed)
    brief = replace(options, seconds=6.0, warmup=2.0)
    with (
        redis_server(options.redis) as redis,
        recblr(redis, options.bundle, settings=options.service) as service,
        empty_fastapi() as floor,
    ):
        own, empty = Target.of("recblr", service, redis), Target.of("empty FastAPI", floor)
        runs = [closed_loop(target, events, brief, 4.0, f"{target.name}, events") for target in (own, empty)]
        rate = min(options.rate, round(0.6 * runs[0]["achieved_per_s"]))
        runs.append(open_loop(own, events, brief, rate, "recblr, events"))
        mixed = mixed_requests(options.histories, 10_000, "mixed", options.seed)
        runs.append(open_loop(own, mixed, brief, rate, "recblr, mixed traffic"))
    summary = {
        "recblr_per_s": runs[0]["achieved_per_s"],
        "empty_fastapi_per_s": runs[1]["achieved_per_s"],
        "ratio": round(runs[0]["achieved_per_s"] / max(runs[1]["achieved_per_s"], 1e-9), 3),
        "at_per_s": rate,
        "events_ms": runs[2]["latency_ms"],
        "mixed_ms": runs[3]["latency_ms"],
        "errors": [run["errors"] for run in runs if run["errors"]],
    }
    return {"runs": runs, "summary": summary, "charts": []}


def rate(options: Options) -> dict[str, Any]:
    """Events that ask for ten recommendations at the asked rate, `rounds` times."""
    return _steady(options, mixed=False)


def mixed(options: Options) -> dict[str, Any]:
    """Reads and writes of usual, heavy, new and anonymous users at the asked rate, `rounds` times."""
    return _steady(options, mixed=True)


def soak(options: Options) -> dict[str, Any]:
    """One long run of mixed traffic at a share of capacity: errors, memory, and the last sixth beside the first."""
    requests = mixed_requests(options.histories, 40_000, "soak", options.seed)
    with redis_server(options.redis) as redis, recblr(redis, options.bundle, settings=options.service) as service:
        target = Target.of("recblr", service, redis)
        full = closed_loop(target, requests, options, min(15.0, options.seconds / 6), "capacity")
        rate = round(options.share * full["achieved_per_s"])
        # In slices, so that memory is seen over time; the pauses between them are milliseconds.
        part = replace(options, seconds=options.seconds / 6)
        runs = []
        for n in range(6):
            seeded = replace(part, seed=options.seed + n, warmup=options.warmup if n == 0 else 0.1)
            runs.append(open_loop(target, requests, seeded, rate, f"sixth {n + 1}"))
    p99 = [run["latency_ms"]["p99"] for run in runs]
    memory = [run["memory_mb"]["server"]["pss"] for run in runs]
    minutes = [round((n + 0.5) * part.seconds / 60, 2) for n in range(6)]
    summary = {
        "capacity_per_s": full["achieved_per_s"],
        "at_per_s": rate,
        "requests": sum(run["requests"] for run in runs),
        "errors": [run["errors"] for run in runs if run["errors"]],
        "p99_ms": p99,
        "last_to_first_p99": round(p99[-1] / p99[0], 3),
        "server_pss_mb": memory,
        "last_to_first_pss": round(memory[-1] / memory[0], 3),
        "redis_pss_mb": [run["memory_mb"]["redis"]["pss"] for run in runs],
        "achieved_per_s": [run["achieved_per_s"] for run in runs],
    }
    charts = [
        {"title": "Memory of the server", "x": "minutes", "y": "MB", "lines": {"": _pairs(minutes, memory)}},
        {"title": "p99 over time", "x": "minutes", "y": "ms", "lines": {"": _pairs(minutes, p99)}},
    ]
    return {"runs": [full, *runs], "summary": summary, "charts": charts}


def _steady(options: Options, *, mixed: bool) -> dict[str, Any]:
    make = mixed_requests if mixed else event_requests
    runs = []
    with redis_server(options.redis) as redis, recblr(redis, options.bundle, settings=options.service) as service:
        target = Target.of("recblr", service, redis)
        for n in range(options.rounds):
            requests = make(options.histories, 20_000, f"rate{n}", options.seed + n)
            runs.append(open_loop(target, requests, replace(options, seed=options.seed + n), options.rate))
    summary = {
        "asked_per_s": options.rate,
        "achieved_per_s": _median([run["achieved_per_s"] for run in runs]),
        **{
            f"{name}_ms": _median([run["latency_ms"][name] for run in runs])
            for name in ("p50", "p90", "p99", "p99.9")
        },
        "cpu_us_per_request": {
            name: _median([run["cpu_us_per_request"][name] for run in runs]) for name in ("server", "redis", "client")
        },
        "errors": [run["errors"] for run in runs if run["errors"]],
        "rounds": options.rounds,
    }
    return {"runs": runs, "summary": summary, "charts": []}


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def _pairs(xs: list[float], ys: list[float]) -> list[tuple[float, float]]:
    return list(zip(xs, ys, strict=True))
