"""How well the live models foresee what users do next, as metrics: totals since the start, and sliding windows.

An item's place among all items, under the state before its event, gives the event's gains: a hit if it is among the
first 10, 1 / log2(1 + place) if it is, and 1 / place. The means of the three are HR@10, NDCG@10 and MRR.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Metric
from prometheus_client.core import GaugeMetricFamily

from model.ranking_metrics import discounted_gains, hits, reciprocal_ranks
from service.core.engine_requests import TargetRank

_CUTOFF = 10
WINDOWS = (1000, 10_000)  # judged events: HR@10 is then known to +- 0.03 and 0.01
_LINGER = 1.0  # seconds until what was judged is written, all at once

_GAINS = {
    "hits": f"whose item was among the first {_CUTOFF}",
    "ndcg": f"weighed by 1 / log2(1 + the item's place) if that is among the first {_CUTOFF}, else 0",
    "reciprocal_rank": "weighed by 1 / the item's place",
}
_RATIOS = {"hr_at_10": "hits", "ndcg_at_10": "ndcg", "mrr": "reciprocal_rank"}
_SEEN = ("kept", "masked")
_NONE = np.empty((0, len(_SEEN)), np.int32)
_WINDOW = "recblr_accuracy_window_"


class Accuracy:
    """The metrics of one process. Labels: the model's `version`; `history`, "cold" before a user's first known item
    and "warm" after; `seen`, whether items of the user's history are "kept" in the order or "masked", as they are
    where `exclude_seen` says so.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        whose = ["version", "history"]
        self._events = Counter("recblr_accuracy_events", "Judged events", whose, registry=registry)
        self._totals = [
            Counter(f"recblr_accuracy_{name}", f"Judged events {what}", [*whose, "seen"], registry=registry)
            for name, what in _GAINS.items()
        ]
        # The sums of all workers' windows, from which `Ratios` makes means.
        self._window_events = self._gauge("events", "", [*whose, "window"], registry)
        self._window_sums = [
            self._gauge(name, f" {what}", [*whose, "seen", "window"], registry) for name, what in _GAINS.items()
        ]
        self._ranks: dict[tuple[str, str], list[tuple[int, int]]] = {}
        self._recent: dict[tuple[str, str], NDArray[np.int32]] = {}
        self._served: frozenset[str] = frozenset()

    @staticmethod
    def _gauge(name: str, what: str, labels: list[str], registry: CollectorRegistry) -> Gauge:
        text = f"Each worker's newest `window` judged events{what}"
        return Gauge(f"{_WINDOW}{name}", text, labels, registry=registry, multiprocess_mode="livesum")

    def add(self, version: str, place: TargetRank) -> None:
        """An event was judged. Called on the event loop."""
        if not self._ranks:
            asyncio.get_running_loop().call_later(_LINGER, self.write)
        ranks = self._ranks.setdefault((version, "cold" if place.cold else "warm"), [])
        ranks.append((place.among_all, place.among_unseen))

    def serve(self, versions: Iterable[str]) -> None:
        """These versions answer now. The others have no windows any more; their totals stay."""
        self._served = frozenset(versions)
        for whose in [whose for whose in self._recent if whose[0] not in self._served]:
            del self._recent[whose]
            for window in WINDOWS:
                self._window_events.labels(*whose, window).set(0)  # nothing can be removed from a worker's file

    def write(self) -> None:
        """Bring the metrics up to date."""
        waiting, self._ranks = self._ranks, {}
        for whose, ranks in waiting.items():
            new = np.array(ranks, np.int32)
            self._events.labels(*whose).inc(len(new))
            for column, seen in enumerate(_SEEN):
                for total, gain in zip(self._totals, _gains(new[:, column]), strict=True):
                    total.labels(*whose, seen).inc(gain)
            if whose[0] not in self._served:  # judged by a turn that was under way at the exchange
                continue
            recent = np.concatenate([self._recent.get(whose, _NONE), new])[-max(WINDOWS) :]
            self._recent[whose] = recent
            for window in WINDOWS:
                self._window_events.labels(*whose, window).set(min(len(recent), window))
                for column, seen in enumerate(_SEEN):
                    gains = _gains(recent[-window:, column])
                    for gauge, gain in zip(self._window_sums, gains, strict=True):
                        gauge.labels(*whose, seen, window).set(gain)


def _gains(ranks: NDArray[np.int32]) -> tuple[float, float, float]:
    """Sums over places (N,): hits, NDCG, reciprocal ranks."""
    gains = (hits(ranks, _CUTOFF), discounted_gains(ranks, _CUTOFF), reciprocal_ranks(ranks))
    return float(gains[0].sum()), float(gains[1].sum()), float(gains[2].sum())


class Ratios:
    """Another collector's metrics, and the means over the windows that it has the sums of."""

    def __init__(self, collector: CollectorRegistry) -> None:
        self._collector = collector

    def collect(self) -> Iterator[Metric]:
        """All of them."""
        found = {metric.name: metric for metric in self._collector.collect()}
        yield from found.values()
        events = found.get(f"{_WINDOW}events")
        if events is None:
            return
        counts = {tuple(sorted(sample.labels.items())): sample.value for sample in events.samples}
        for name, gain in _RATIOS.items():
            labels = ["version", "history", "seen", "window"]
            text = f"{name} of the newest `window` judged events of each worker, over all workers"
            ratio = GaugeMetricFamily(f"recblr_accuracy_{name}", text, labels=labels)
            for sample in found[f"{_WINDOW}{gain}"].samples:
                of = tuple(sorted((label, value) for label, value in sample.labels.items() if label != "seen"))
                if counts.get(of):
                    ratio.add_metric([sample.labels[label] for label in labels], sample.value / counts[of])
            yield ratio
