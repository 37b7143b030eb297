"""Live accuracy of the served models.

An evaluated event has a rank: the position of its item among all items, ordered for the user's state before the
event. From the ranks follow the gains of `model.ranking_metrics`, whose means are HR@10, NDCG@10 and MRR. The metrics
are totals since the start, and means over windows of the newest events (decision 0055).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Metric
from prometheus_client.core import GaugeMetricFamily

from model.ranking_metrics import discounted_gains, hits, reciprocal_ranks
from service.core.engine_requests import TargetRank
from service.core.event_fields import DEFAULT_TYPE

_CUTOFF = 10
WINDOWS = (1000, 10_000)  # evaluated events; HR@10 is then known to +- 0.03 and 0.01
_WRITE_DELAY_SECONDS = 1.0  # ranks are collected this long, then written together

_GAINS = {
    "hits": f"whose item ranked among the first {_CUTOFF}",
    "ndcg": f"weighted by 1 / log2(1 + rank) if the item ranked among the first {_CUTOFF}, else by 0",
    "reciprocal_rank": "weighted by 1 / rank",
}
_MEANS = {"hr_at_10": "hits", "ndcg_at_10": "ndcg", "mrr": "reciprocal_rank"}
_SEEN = ("kept", "masked")
_NO_RANKS = np.empty((0, len(_SEEN)), np.int32)
_WINDOW = "recblr_accuracy_window_"
_MAX_TYPES, _OTHER_TYPE = 64, "other"


class LiveAccuracy:
    """Accuracy metrics of one worker.

    Labels:
        version: Model version.
        history: "cold" before the user's first known item, "warm" after it.
        seen: Whether the items of the user's history are "kept" in the order or "masked", as with `exclude_seen`.
        window: Length of the window in events.
        item: "new" if the model was not trained with the event's item, else "trained".
        type: Type of the event; "other" beyond the first 64 types.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        group = ["version", "history"]
        self._events, self._totals = _counters("", "", group, registry)
        # Sums over the windows. They add up over workers; `WindowMeans` divides them.
        self._window_events = self._gauge("events", "", [*group, "window"], registry)
        self._window_sums = [
            self._gauge(name, f" {text}", [*group, "seen", "window"], registry) for name, text in _GAINS.items()
        ]
        self._type_events, self._type_totals = _counters("type_", " by type", ["version", "type"], registry)
        self._item_events, self._item_totals = _counters("item_", " by kind of item", ["version", "item"], registry)
        self._types: set[str] = set()
        self._unwritten: dict[tuple[str, str, str, bool], list[tuple[int, int]]] = {}
        self._recent: dict[tuple[str, str], NDArray[np.int32]] = {}
        self._served: frozenset[str] = frozenset()

    @staticmethod
    def _gauge(name: str, text: str, labels: list[str], registry: CollectorRegistry) -> Gauge:
        return Gauge(
            f"{_WINDOW}{name}",
            f"Newest `window` evaluated events of each worker{text}.",
            labels,
            registry=registry,
            multiprocess_mode="livesum",
        )

    def add(self, version: str, rank: TargetRank, event_type: str = "", *, is_new: bool = False) -> None:
        """Add an evaluated event. Must be called on the event loop.

        `is_new` says that the model was not trained with the item.
        """
        if not self._unwritten:
            asyncio.get_running_loop().call_later(_WRITE_DELAY_SECONDS, self.write)
        group = (version, "cold" if rank.cold else "warm", event_type, is_new)
        ranks = self._unwritten.setdefault(group, [])
        ranks.append((rank.among_all, rank.among_unseen))

    def serve(self, versions: Iterable[str]) -> None:
        """Drop the windows of versions no longer served; totals stay."""
        self._served = frozenset(versions)
        for group in [group for group in self._recent if group[0] not in self._served]:
            del self._recent[group]
            for window in WINDOWS:
                self._window_events.labels(*group, window).set(0)  # a worker's file cannot shrink

    def write(self) -> None:
        """Write the collected ranks to the metrics."""
        unwritten, self._unwritten = self._unwritten, {}
        by_history: dict[tuple[str, str], list[tuple[int, int]]] = {}
        for (version, history, event_type, is_new), ranks in unwritten.items():
            by_history.setdefault((version, history), []).extend(ranks)
            self._add_to_type(version, event_type or DEFAULT_TYPE, np.array(ranks, np.int32))
            item = version, "new" if is_new else "trained"
            self._item_events.labels(*item).inc(len(ranks))
            _add_gains(self._item_totals, item, np.array(ranks, np.int32))
        for group, ranks in by_history.items():
            new = np.array(ranks, np.int32)
            self._events.labels(*group).inc(len(new))
            _add_gains(self._totals, group, new)
            if group[0] not in self._served:  # evaluated by a request that was in progress during a rollout
                continue
            recent = np.concatenate([self._recent.get(group, _NO_RANKS), new])[-max(WINDOWS) :]
            self._recent[group] = recent
            for window in WINDOWS:
                self._window_events.labels(*group, window).set(min(len(recent), window))
                for column, seen in enumerate(_SEEN):
                    gains = _gain_sums(recent[-window:, column])
                    for gauge, gain in zip(self._window_sums, gains, strict=True):
                        gauge.labels(*group, seen, window).set(gain)

    def _add_to_type(self, version: str, event_type: str, ranks: NDArray[np.int32]) -> None:
        """Add ranks to the totals of a type.

        Clients choose the types, so their number is limited.
        """
        if len(self._types) < _MAX_TYPES:
            self._types.add(event_type)
        labels = (version, event_type if event_type in self._types else _OTHER_TYPE)
        self._type_events.labels(*labels).inc(len(ranks))
        _add_gains(self._type_totals, labels, ranks)


def _counters(
    prefix: str, text: str, labels: list[str], registry: CollectorRegistry
) -> tuple[Counter, list[Counter]]:
    """Create the counter of evaluated events, and those of their gains."""
    names = f"recblr_accuracy_{prefix}", f"Evaluated events{text}"
    totals = [
        Counter(f"{names[0]}{name}", f"{names[1]} {of_gain}.", [*labels, "seen"], registry=registry)
        for name, of_gain in _GAINS.items()
    ]
    return Counter(f"{names[0]}events", f"{names[1]}.", labels, registry=registry), totals


def _add_gains(totals: Sequence[Counter], labels: tuple[str, str], ranks: NDArray[np.int32]) -> None:
    """Add the gains of ranks (N, 2) to the totals."""
    for column, seen in enumerate(_SEEN):
        for total, gain in zip(totals, _gain_sums(ranks[:, column]), strict=True):
            total.labels(*labels, seen).inc(gain)


def _gain_sums(ranks: NDArray[np.int32]) -> tuple[float, float, float]:
    """Sum hits, NDCG gains and reciprocal ranks over ranks of shape (N,)."""
    gains = (hits(ranks, _CUTOFF), discounted_gains(ranks, _CUTOFF), reciprocal_ranks(ranks))
    return float(gains[0].sum()), float(gains[1].sum()), float(gains[2].sum())


class WindowMeans:
    """Collector that adds the means over windows to another collector's metrics."""

    def __init__(self, collector: CollectorRegistry) -> None:
        self._collector = collector

    def collect(self) -> Iterator[Metric]:
        """Return the other collector's metrics and the means."""
        found = {metric.name: metric for metric in self._collector.collect()}
        yield from found.values()
        events = found.get(f"{_WINDOW}events")
        if events is None:
            return
        counts = {tuple(sorted(sample.labels.items())): sample.value for sample in events.samples}
        for name, gain in _MEANS.items():
            labels = ["version", "history", "seen", "window"]
            text = f"{name} of the newest `window` evaluated events of each worker, over all workers."
            mean = GaugeMetricFamily(f"recblr_accuracy_{name}", text, labels=labels)
            for sample in found[f"{_WINDOW}{gain}"].samples:
                group = tuple(sorted((label, value) for label, value in sample.labels.items() if label != "seen"))
                if counts.get(group):
                    mean.add_metric([sample.labels[label] for label in labels], sample.value / counts[group])
            yield mean
