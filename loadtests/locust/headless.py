"""The locust scenarios, headless, with the same conditions and the same table as every other run."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from subprocess import Popen
from typing import Any

from loadtests.environment.processes import CpuMeter, descendants, memory_mb
from loadtests.environment.servers import ROOT, Server, ServerFailed, recblr, redis_server
from loadtests.generator.experiment import Options


def locust(options: Options) -> dict[str, Any]:
    """100 users that wait and think; then the open loop at --rate."""
    scenarios = {
        "users that think": ["locustfile.py", "-u", "100", "-r", "50"],
        "open loop": ["locust_open.py", "-u", "1", "--rate", str(options.rate)],
    }
    with redis_server(options.redis) as redis, recblr(redis, options.bundle, settings=options.service) as service:
        runs = [_run(service, redis, options, label, words) for label, words in scenarios.items()]
    runs[1]["asked_per_s"] = options.rate
    summary = {
        run["label"]: {
            "achieved_per_s": run["achieved_per_s"],
            "latency_ms": run["latency_ms"],
            "client_us_per_request": run["cpu_us_per_request"]["client"],
            "errors": run["errors"],
        }
        for run in runs
    }
    return {"runs": runs, "summary": summary, "charts": []}


def _run(service: Server, redis: Server, options: Options, label: str, words: Sequence[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="loadtest-locust-") as folder:
        out = Path(folder) / "result"
        command = [sys.executable, "-m", "locust", "-f", str(ROOT / "loadtests" / words[0]), "--headless"]
        command += ["--host", f"http://127.0.0.1:{service.port}", "-t", f"{int(options.seconds)}s"]
        command += ["--stop-timeout", "5", "--skip-log", "--json-file", str(out), *words[1:]]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "LOADTEST_BUNDLE": str(options.bundle)}
        with (Path(folder) / "log").open("wb") as log:
            process = Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
            meter = CpuMeter({"server": service.pid, "redis": redis.pid, "locust": process.pid})
            spent = {}
            while process.poll() is None:
                spent = meter.read()  # the last reading before locust is gone
                time.sleep(0.1)
        found = Path(f"{out}.json")
        if not found.exists():
            end = (Path(folder) / "log").read_text(errors="replace")[-2000:]
            raise ServerFailed(f"locust left no result; is the extra `loadtest` installed?\n{end}")
        return _result(json.loads(found.read_text()), label, spent, service)


def _result(entries: list[dict[str, Any]], label: str, spent: dict[str, float], service: Server) -> dict[str, Any]:
    """Locust's statistics in the shape of `lab`'s. Its histogram keeps two digits, which is what percentiles have."""
    times: dict[float, int] = {}
    for entry in entries:
        for value, count in entry["response_times"].items():
            times[float(value)] = times.get(float(value), 0) + count
    requests = sum(entry["num_requests"] for entry in entries)
    failures = sum(entry["num_failures"] for entry in entries)
    began = min((entry["start_time"] for entry in entries), default=0.0)
    ended = max((entry["last_request_timestamp"] or 0.0 for entry in entries), default=0.0)
    seconds = max(ended - began, 1e-9)
    client = spent.get("locust", 0.0)
    shares = {"server": spent.get("server", 0.0), "redis": spent.get("redis", 0.0), "client": client}
    return {
        "target": "recblr",
        "label": f"locust, {label}",
        "loop": "open" if label == "open loop" else "users",
        "seconds": round(seconds, 2),
        "requests": requests,
        "achieved_per_s": round((requests - failures) / seconds, 2),
        "errors": {"failed": failures} if failures else {},
        "latency_ms": _percentiles(times),
        "by_kind": {
            e["name"]: {"requests": e["num_requests"], "latency_ms": _percentiles(_numbers(e))} for e in entries
        },
        "cpu_us_per_request": {name: round(s / max(1, requests) * 1e6, 1) for name, s in shares.items()},
        "cpu_s": {**shares, "others": spent.get("others", 0.0)},
        "memory_mb": {"server": memory_mb(descendants(service.pid))},
        "distribution_ms": [],
        "over_time_ms": [],
    }


def _numbers(entry: dict[str, Any]) -> dict[float, int]:
    return {float(value): count for value, count in entry["response_times"].items()}


def _percentiles(times: dict[float, int]) -> dict[str, float]:
    total = sum(times.values())
    result = {}
    for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)):
        seen = 0
        for value in sorted(times):
            seen += times[value]
            if seen >= share * total:
                result[name] = value
                break
    return result
