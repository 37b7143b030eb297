"""A catalogue of a million items, served by one worker and by two: latency, recall, and whose memory the table is."""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from loadtests.environment.processes import descendants, mapped_mb
from loadtests.environment.servers import Server, recblr, redis_server, start_seconds
from loadtests.environment.synthetic_catalogue import write_catalogue
from loadtests.generator.experiment import Options, Target, closed_loop, open_loop
from loadtests.generator.workload import event_requests, zipf_histories
from loadtests.scenarios.scaling import model_metrics
from model.bundle.bundle import WEIGHTS

ITEMS = 1_000_000


def million(options: Options) -> dict[str, Any]:
    """Events at the asked rate, `rounds` times with each number of workers; then their capacity and their memory."""
    size = options.sizes[0] if options.sizes else ITEMS
    runs: list[dict[str, Any]] = []
    summary: dict[str, Any] = {"items": size, "asked_per_s": options.rate, "rounds": options.rounds}
    with tempfile.TemporaryDirectory(prefix="loadtest-bundle-") as folder:
        bundle = Path(folder) / "bundle"
        ids = write_catalogue(bundle, options.bundle, size, options.seed)
        summary["table_mb"] = round((bundle / WEIGHTS).stat().st_size / (1 << 20), 1)
        requests = event_requests(zipf_histories(ids, 2_000, options.seed), 20_000, "million", options.seed)
        del ids
        for workers in (1, 2):
            label = f"{workers} worker{'s' if workers > 1 else ''}"
            started = start_seconds(size)
            with (
                redis_server(options.redis) as redis,
                recblr(redis, bundle, workers=workers, settings=options.service, seconds=started) as service,
            ):
                target = Target.of("recblr", service, redis)
                steady = [open_loop(target, requests, options, options.rate, label) for _ in range(options.rounds)]
                full = closed_loop(target, requests, options, min(options.seconds, 10.0), label)
                recall = model_metrics(service).get("retrieval_recall@10")
                summary |= {"search": "exact" if recall is None else "index", "recall@10": recall or 1.0}
                summary[label] = _summary(steady, full) | {"memory_mb": _memory(service)}
                runs += [*steady, full]
    return {"runs": runs, "summary": summary, "charts": []}


def _summary(steady: list[dict[str, Any]], full: dict[str, Any]) -> dict[str, Any]:
    """Medians over the rounds."""
    return {
        "achieved_per_s": median(run["achieved_per_s"] for run in steady),
        **{f"{name}_ms": median(run["latency_ms"][name] for run in steady) for name in ("p50", "p90", "p99")},
        "errors": [run["errors"] for run in [*steady, full] if run["errors"]],
        "capacity_per_s": full["achieved_per_s"],
    }


def _memory(service: Server) -> list[dict[str, float]]:
    """Of each process that has the table mapped. The table's pages count once in the sum of `pss`."""
    found = [mapped_mb(pid, WEIGHTS) for pid in descendants(service.pid)]
    return [process for process in found if process["mapped_rss"] > 0]
