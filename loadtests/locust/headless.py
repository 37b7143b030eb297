"""Run the locust files headless, with the report of other scenarios."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from subprocess import Popen
from typing import Any

from loadtests.environment.processes import CpuMeter, memory_mb, process_tree
from loadtests.environment.servers import ROOT, ServerError
from loadtests.generator.experiment import Options, Run, ServiceUnderTest, service_under_test
from loadtests.generator.samples import PERCENTILES

_USERS = 100
_USERS_STARTED_PER_S = 50
_CPU_READ_INTERVAL_SECONDS = 0.1


def locust(options: Options) -> dict[str, Any]:
    """Measure 100 users with think time, then the open loop at `options.rate`."""
    with service_under_test(options) as tested:
        think_time = ["locustfile.py", "-u", str(_USERS), "-r", str(_USERS_STARTED_PER_S)]
        open_loop = ["open_loop.py", "-u", "1", "--rate", str(options.rate)]
        runs = [
            _run_locust(tested, options, "users with think time", think_time) | {"loop": "users"},
            _run_locust(tested, options, "open loop", open_loop) | {"loop": "open", "offered_per_s": options.rate},
        ]
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


def _run_locust(tested: ServiceUnderTest, options: Options, label: str, arguments: Sequence[str]) -> Run:
    """Run one locust file; `arguments` are its name and options."""
    file, *file_options = arguments
    with tempfile.TemporaryDirectory(prefix="loadtest-locust-") as folder:
        out, log = Path(folder) / "result", Path(folder) / "log"
        command = [sys.executable, "-m", "locust", "-f", str(ROOT / "loadtests" / "locust" / file), "--headless"]
        command += ["--host", f"http://127.0.0.1:{tested.server.port}", "-t", f"{int(options.seconds)}s"]
        command += ["--stop-timeout", "5", "--skip-log", "--json-file", str(out), *file_options]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "LOADTEST_BUNDLE": str(options.bundle)}
        with log.open("wb") as output:
            process = Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)
            meter = CpuMeter({**tested.process_groups, "locust": process.pid})
            spent: dict[str, float] = {}
            while process.poll() is None:
                spent = meter.read()  # the last reading before locust has ended
                time.sleep(_CPU_READ_INTERVAL_SECONDS)
        result = Path(f"{out}.json")
        if not result.exists():
            log_end = log.read_text(errors="replace")[-2000:]
            raise ServerError(f"locust wrote no result; is the extra `loadtest` installed?\n{log_end}")
        return _as_run(json.loads(result.read_text()), label, spent, tested)


def _as_run(
    entries: Sequence[Mapping[str, Any]], label: str, spent: Mapping[str, float], tested: ServiceUnderTest
) -> Run:
    """Convert locust's statistics to the shape of `loadtests.generator.experiment`."""
    requests = sum(entry["num_requests"] for entry in entries)
    failures = sum(entry["num_failures"] for entry in entries)
    started_at = min((entry["start_time"] for entry in entries), default=0.0)
    ended_at = max((entry["last_request_timestamp"] or 0.0 for entry in entries), default=0.0)
    seconds = max(ended_at - started_at, 1e-9)
    cpu = {
        "server": spent.get("server", 0.0),
        "redis": spent.get("redis", 0.0),
        "client": spent.get("locust", 0.0),
    }
    return {
        "server": tested.name,
        "label": f"locust, {label}",
        "seconds": round(seconds, 2),
        "requests": requests,
        "achieved_per_s": round((requests - failures) / seconds, 2),
        "errors": {"failed": failures} if failures else {},
        "latency_ms": _percentiles(entries),
        "by_kind": {
            entry["name"]: {"requests": entry["num_requests"], "latency_ms": _percentiles([entry])}
            for entry in entries
        },
        "cpu_us_per_request": {name: round(used / max(1, requests) * 1e6, 1) for name, used in cpu.items()},
        "cpu_s": {**cpu, "others": spent.get("others", 0.0)},
        "memory_mb": {"server": memory_mb(process_tree(tested.server.pid))},
        "distribution_ms": [],
        "over_time_ms": [],
    }


def _percentiles(entries: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return milliseconds at PERCENTILES from locust's histograms, which keep two digits."""
    counts: dict[float, int] = {}
    for entry in entries:
        for value, count in entry["response_times"].items():
            counts[float(value)] = counts.get(float(value), 0) + count
    total = sum(counts.values())
    result = {}
    for name, percent in PERCENTILES.items():
        seen = 0
        for value in sorted(counts):
            seen += counts[value]
            if seen >= percent / 100 * total:
                result[name] = value
                break
    return result
