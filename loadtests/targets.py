"""What was wanted of each figure, and whether the measurements show it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Results = Mapping[str, Mapping[str, Any]]
Figure = Callable[[Mapping[str, Any]], float]
MILLION = "1000000 items"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A figure of the measurement `of`, taken from its whole JSON, and its bounds if it has any."""

    what: str
    of: str
    figure: Figure
    unit: str = ""
    least: float = -math.inf
    most: float = math.inf

    def row(self, results: Results) -> str:
        """A line of the table."""
        wanted, comparison = "", ""
        if self.least > -math.inf or self.most < math.inf:
            bound = f">= {self.least:g}" if self.least > -math.inf else f"<= {self.most:g}"
            wanted = f"{bound} {self.unit}".strip()
        try:
            found = self.figure(results[self.of])
        except KeyError:
            return f"| {self.what} | {wanted} | - | not measured |"
        if wanted:
            comparison = "yes" if self.least <= found <= self.most else "NO"
        return f"| {self.what} | {wanted} | {f'{found:.4g} {self.unit}'.strip()} | {comparison} |"


def _summary(*path: str) -> Figure:
    """The entry of the summary at a path of names."""

    def figure(result: Mapping[str, Any]) -> float:
        value: Any = result["summary"]
        for name in path:
            value = value[name]
        return float(value)

    return figure


def _times(name: str) -> Figure:
    return lambda result: float(result["times_faster_than_torch"][name])


def _workers_mb(result: Mapping[str, Any]) -> float:
    """The most memory that a worker had, alone or beside another: its own and what it shares."""
    found = result["summary"]
    return max(float(process["rss"]) for name in ("1 worker", "2 workers") for process in found[name]["memory_mb"])


def _shared(result: Mapping[str, Any]) -> float:
    """Of the table's pages that two workers have mapped, what each is charged with: a half if they share them."""
    workers = result["summary"]["2 workers"]["memory_mb"]
    return max(float(worker["mapped_pss"] / worker["mapped_rss"]) for worker in workers)


def _errors(result: Mapping[str, Any]) -> float:
    return float(sum(sum(errors.values()) for errors in result["summary"]["errors"]))


STEP, FOLD, ANSWER = "step, batch of 1", "fold, batch of 1", "fold + top-10, batch of 1"
APPROXIMATE = f"{MILLION}, approximate, 0 seen, batch of"

WANTED = (
    Wanted("one step, batch of 1, one core", "engine", _summary(f"{STEP}: us/event"), "us", most=40),
    Wanted("the same, times faster than eager torch", "engine", _times(STEP)),
    Wanted("the same, packed state to packed state", "engine", _summary(f"{FOLD}: us/event"), "us"),
    Wanted("event + top-10 in the engine, batch of 1", "engine", _summary(f"{ANSWER}: us/event"), "us"),
    Wanted("one step, batch of 32", "engine", _summary("step, batch of 32: us/event"), "us/event", most=15),
    Wanted("top-10 of 1M items, one query", "engine", _summary(f"{APPROXIMATE} 1: us/query"), "us", most=1000),
    Wanted("the same, times faster than torch matmul + topk", "engine", _times(f"{APPROXIMATE} 1")),
    Wanted("the same in batches of 16", "engine", _times(f"{APPROXIMATE} 16")),
    Wanted("recall@10 there", "engine", _summary(f"{MILLION}, index: recall@10"), least=0.99),
    Wanted("event + top-10 to the empty FastAPI handler, requests/s", "floors", _summary("ratio"), least=0.6),
    Wanted("p99 at a steady 1,000 requests/s, two cores", "rate", _summary("p99_ms"), "ms", most=10),
    Wanted("its errors", "rate", _errors, most=0),
    Wanted("times the requests/s of LitServe", "peers", _summary("ratio_to", "LitServe"), least=10),
    Wanted("times the requests/s of BentoML", "peers", _summary("ratio_to", "BentoML"), least=10),
    Wanted("1M items, 500 requests/s, one worker: p90", "million", _summary("1 worker", "p90_ms"), "ms", most=50),
    Wanted("the same, two workers", "million", _summary("2 workers", "p90_ms"), "ms", most=50),
    Wanted("recall@10 there", "million", _summary("recall@10"), least=0.99),
    Wanted("the largest worker's memory there", "million", _workers_mb, "MB", most=1500),
    Wanted("share of the item table that each of two workers is charged with", "million", _shared, most=0.6),
    Wanted(
        "p50 of users with 100,000 events to users with 10",
        "history",
        _summary("p50_of_largest_to_smallest"),
        most=1.1,
    ),
    Wanted("30 minutes at 70 % of capacity: errors", "soak", _errors, most=0),
    Wanted("p99 of the last five minutes to the first five", "soak", _summary("last_to_first_p99"), most=1.2),
    Wanted("the server's memory, the same", "soak", _summary("last_to_first_pss"), most=1.1),
)


def as_table(results: Results) -> str:
    """Markdown: a row for each figure that is wanted."""
    rows = [wanted.row(results) for wanted in WANTED]
    return "\n".join(["| what | wanted | found | met |", "|---|---|---|---|", *rows]) + "\n"
