"""Performance targets, and whether the measurements meet them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Results = Mapping[str, Mapping[str, Any]]
Figure = Callable[[Mapping[str, Any]], float]


@dataclass(frozen=True, slots=True)
class Target:
    """A figure of a measurement, and its bounds if it has any.

    `figure` extracts the value from the JSON of the measurement `source`.
    """

    description: str
    source: str
    figure: Figure
    unit: str = ""
    minimum: float = -math.inf
    maximum: float = math.inf

    def row(self, results: Results) -> str:
        """Return a row of the table."""
        bound = ""
        if self.minimum > -math.inf:
            bound = f">= {self.minimum:g} {self.unit}".strip()
        elif self.maximum < math.inf:
            bound = f"<= {self.maximum:g} {self.unit}".strip()
        try:
            measured = self.figure(results[self.source])
        except KeyError:
            return f"| {self.description} | {bound} | - | not measured |"
        met = ""
        if bound:
            met = "yes" if self.minimum <= measured <= self.maximum else "NO"
        return f"| {self.description} | {bound} | {f'{measured:.4g} {self.unit}'.strip()} | {met} |"


def _summary(*path: str) -> Figure:
    """Return the figure at a path of keys in the summary."""

    def figure(result: Mapping[str, Any]) -> float:
        value: Any = result["summary"]
        for name in path:
            value = value[name]
        return float(value)

    return figure


def _speedup(name: str) -> Figure:
    return lambda result: float(result["times_faster_than_torch"][name])


def _largest_worker_mb(result: Mapping[str, Any]) -> float:
    """Return the largest RSS of a worker, in megabytes."""
    summary = result["summary"]
    return max(float(process["rss"]) for name in ("1 worker", "2 workers") for process in summary[name]["memory_mb"])


def _proportional_table_share(result: Mapping[str, Any]) -> float:
    """Return PSS / RSS of the item table in two workers.

    It is 0.5 if they share the table's pages.
    """
    workers = result["summary"]["2 workers"]["memory_mb"]
    return max(float(worker["mapped_pss"] / worker["mapped_rss"]) for worker in workers)


def _errors(result: Mapping[str, Any]) -> float:
    return float(sum(sum(errors.values()) for errors in result["summary"]["errors"]))


MILLION = "1000000 items"
STEP, REPLAY, ANSWER = "step, batch of 1", "replay, batch of 1", "replay + top-10, batch of 1"
APPROXIMATE = f"{MILLION}, approximate, 0 seen, batch of"

TARGETS = (
    Target("one step, batch of 1, one core", "engine", _summary(f"{STEP}: us/event"), "us", maximum=40),
    Target("the same, times faster than eager torch", "engine", _speedup(STEP)),
    Target("the same, stored state to stored state", "engine", _summary(f"{REPLAY}: us/event"), "us"),
    Target("event + top-10 in the engine, batch of 1", "engine", _summary(f"{ANSWER}: us/event"), "us"),
    Target("one step, batch of 32", "engine", _summary("step, batch of 32: us/event"), "us/event", maximum=15),
    Target("top-10 of 1M items, one query", "engine", _summary(f"{APPROXIMATE} 1: us/query"), "us", maximum=1000),
    Target("the same, times faster than torch matmul + topk", "engine", _speedup(f"{APPROXIMATE} 1")),
    Target("the same in batches of 16", "engine", _speedup(f"{APPROXIMATE} 16")),
    Target("recall@10 of that index", "engine", _summary(f"{MILLION}, index: recall@10"), minimum=0.99),
    Target("event + top-10 to the empty FastAPI handler, requests/s", "baselines", _summary("ratio"), minimum=0.6),
    Target("p99 at a steady 1,000 requests/s, two cores", "steady", _summary("p99_ms"), "ms", maximum=10),
    Target("errors at a steady 1,000 requests/s", "steady", _errors, maximum=0),
    Target("requests/s to LitServe's", "peers", _summary("ratio_to", "LitServe"), minimum=10),
    Target("requests/s to BentoML's", "peers", _summary("ratio_to", "BentoML"), minimum=10),
    Target(
        "1M items, 500 requests/s, one worker: p90",
        "large_catalogue",
        _summary("1 worker", "p90_ms"),
        "ms",
        maximum=50,
    ),
    Target(
        "1M items, 500 requests/s, two workers: p90",
        "large_catalogue",
        _summary("2 workers", "p90_ms"),
        "ms",
        maximum=50,
    ),
    Target("1M items: recall@10", "large_catalogue", _summary("recall@10"), minimum=0.99),
    Target("1M items: memory of the largest worker", "large_catalogue", _largest_worker_mb, "MB", maximum=1500),
    Target(
        "1M items: PSS to RSS of the item table in each of two workers",
        "large_catalogue",
        _proportional_table_share,
        maximum=0.6,
    ),
    Target(
        "p50 of users with 100,000 events to users with 10",
        "history",
        _summary("p50_of_largest_to_smallest"),
        maximum=1.1,
    ),
    Target("30 minutes at 70 % of capacity: errors", "soak", _errors, maximum=0),
    Target("the same: p99 of the last five minutes to the first", "soak", _summary("last_to_first_p99"), maximum=1.2),
    Target("the same: memory of the last to the first", "soak", _summary("last_to_first_pss"), maximum=1.1),
)


def as_table(results: Results) -> str:
    """Return a Markdown table with a row for each target.

    Args:
        results: JSON of each measurement by name; missing ones are "not measured".
    """
    rows = [target.row(results) for target in TARGETS]
    return "\n".join(["| figure | target | measured | met |", "|---|---|---|---|", *rows]) + "\n"
