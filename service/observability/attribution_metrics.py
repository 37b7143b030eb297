"""Metrics of what recommendations earned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from service.core.attribution.credits import Counts, ShardCounts
from service.observability.experiment_results import version_results

_METRICS = {
    "impressions": "Impressions of recommended items",
    "clicks": "Events on recommended items",
    "conversions": "Conversions of recommended items",
    "value": "Sum of the values of the conversions",
}

_NEWEST_VERSIONS = 10  # older ones are in the route; each has four series a position


class AttributionTotals(Collector):
    """Collector of the counters.

    They are gauges, because an undo subtracts: a counter that falls would look like a restart. Every worker reports
    the same sums.

    Labels:
        version: Model version of the answer; the newest ones only.
        position: Position of the item in the answer, from 1.
    """

    def __init__(self, shards: Sequence[ShardCounts]) -> None:
        self._shards = shards

    def collect(self) -> Iterator[Metric]:
        """Return a metric for each kind of event; nothing without shards."""
        if not self._shards:
            return
        results = version_results(self._shards, _NEWEST_VERSIONS)
        labels = ["version", "position"]
        for name, text in _METRICS.items():
            description = f"{text}, by model version and position."
            metric = GaugeMetricFamily(f"recblr_attribution_{name}", description, labels=labels)
            for result in results:
                for position, counts in result.positions.items():
                    metric.add_metric([result.model_version, str(position)], _amount(counts, name))
            yield metric


def _amount(counts: Counts, name: str) -> float:
    return counts.value if name == "value" else float(getattr(counts, name))
