"""Latency samples of one run and their summary statistics."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Statuses of requests without a response: the connection broke, or the run ended first.
BROKEN, UNANSWERED = -1, -2
_STATUS_NAMES = {BROKEN: "connection broke", UNANSWERED: "unanswered"}
PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99.9": 99.9, "max": 100.0}
_DISTRIBUTION = [1, 5, *range(10, 91, 10), 95, 97, 98, 99, 99.5, 99.9]


class Samples:
    """Times, HTTP status and kind of each request.

    Times are seconds of `time.perf_counter()`. `origin` is when the run began, `seconds` its scheduled length.
    """

    def __init__(self, kinds: Sequence[str]) -> None:
        self.kinds = list(kinds)
        self.origin = 0.0
        self.seconds = 0.0
        self._due, self._sent, self._answered = array("d"), array("d"), array("d")
        self._status, self._kind = array("h"), array("h")

    @classmethod
    def merged(cls, runs: Sequence[Samples]) -> Samples:
        """Return the samples of runs at the same time.

        The runs have the same kinds.
        """
        first, *others = runs
        whole = cls(first.kinds)
        whole.origin = min(run.origin for run in runs)
        whole.seconds = max(run.seconds for run in runs)
        for run in (first, *others):
            whole._due.extend(run._due)
            whole._sent.extend(run._sent)
            whole._answered.extend(run._answered)
            whole._status.extend(run._status)
            whole._kind.extend(run._kind)
        return whole

    def add(self, due: float, sent: float, answered: float, status: int, kind: int) -> None:
        """Add a request that has ended.

        Args:
            due: when the request was due.
            sent: when it was sent.
            answered: when its response was complete, or the wait for one ended.
            status: HTTP status, BROKEN or UNANSWERED.
            kind: index in `kinds`.
        """
        self._due.append(due)
        self._sent.append(sent)
        self._answered.append(answered)
        self._status.append(status)
        self._kind.append(kind)

    def __len__(self) -> int:
        return len(self._due)

    @property
    def latencies(self) -> NDArray[np.float64]:
        """Seconds from due to answered, in the order of the answers."""
        return np.subtract(self._answered, self._due, dtype=np.float64)

    @property
    def kind_indices(self) -> NDArray[np.int64]:
        """Index in `kinds` of each request, in the order of the answers."""
        return np.array(self._kind, np.int64)

    @property
    def succeeded(self) -> NDArray[np.bool_]:
        """True for each request with a 2xx status."""
        status = np.array(self._status)
        return (status >= 200) & (status < 300)

    def summary(self) -> dict[str, Any]:
        """Return rates per second, errors by status, and latencies in milliseconds.

        `achieved_per_s` counts successful answers within the scheduled seconds of the run.
        """
        latencies, kind = self.latencies, self.kind_indices
        in_time = self.succeeded & (np.array(self._answered) <= self.origin + self.seconds)
        return {
            "seconds": round(self.seconds, 3),
            "requests": len(self),
            "achieved_per_s": round(float(in_time.sum()) / self.seconds, 2) if self.seconds else 0.0,
            "errors": self._errors(),
            "latency_ms": percentiles(latencies),
            "send_delay_ms": percentiles(np.array(self._sent) - np.array(self._due)),
            "by_kind": {
                name: {"requests": int((kind == n).sum()), "latency_ms": percentiles(latencies[kind == n])}
                for n, name in enumerate(self.kinds)
            },
        }

    def over_time(self, windows: int = 30) -> list[tuple[float, float, float]]:
        """Return (seconds, p50 ms, p99 ms) for equal windows of due times."""
        if not len(self):
            return []
        due, latencies = np.array(self._due) - self.origin, self.latencies * 1e3
        edges = np.linspace(0, max(self.seconds, 1e-9), windows + 1)
        rows = []
        for low, high in pairwise(edges):
            window = latencies[(due >= low) & (due < high)]
            if len(window):
                p50, p99 = np.percentile(window, [50, 99])
                rows.append((round(float(low + high) / 2, 2), round(float(p50), 3), round(float(p99), 3)))
        return rows

    def distribution(self) -> list[tuple[float, float]]:
        """Return (percentile, milliseconds) pairs, dense in the tail, for a plot."""
        if not len(self):
            return []
        values = np.percentile(self.latencies * 1e3, _DISTRIBUTION)
        return [(float(p), round(float(v), 3)) for p, v in zip(_DISTRIBUTION, values, strict=True)]

    def _errors(self) -> dict[str, int]:
        """Return the number of failed requests by status."""
        status, counts = np.unique(np.array(self._status, np.int64)[~self.succeeded], return_counts=True)
        return {_STATUS_NAMES.get(int(s), str(int(s))): int(n) for s, n in zip(status, counts, strict=True)}


def percentiles(seconds: NDArray[np.float64]) -> dict[str, float]:
    """Return milliseconds at PERCENTILES; an empty dictionary without samples."""
    if not len(seconds):
        return {}
    values = np.percentile(seconds * 1e3, list(PERCENTILES.values()))
    return {name: round(float(value), 3) for name, value in zip(PERCENTILES, values, strict=True)}
