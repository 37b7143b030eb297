"""Metrics of what recommendations earned."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from service.core.attribution.credits import parse_counters
from service.observability.attribution_metrics import AttributionTotals


def page(*shards: dict[str, int]) -> str:
    registry = CollectorRegistry()
    registry.register(AttributionTotals([parse_counters(shard) for shard in shards]))
    return generate_latest(registry).decode()


def test_shards_are_summed_by_version_and_position() -> None:
    text = page({"p:0:v1:1:c": 2, "p:0:v1:2:v": 2_500_000}, {"p:0:v1:1:c": 3, "x:0a0b0c0d:v1:c": 3})
    assert 'recblr_attribution_clicks{position="1",version="v1"} 5.0' in text
    assert 'recblr_attribution_value{position="2",version="v1"} 2.5' in text
    assert "# TYPE recblr_attribution_clicks gauge" in text


def test_only_the_newest_versions_are_shown() -> None:
    text = page({f"p:0:v{number:03}:1:c": 1 for number in range(30)})
    assert 'version="v029"' in text
    assert 'version="v020"' in text
    assert 'version="v019"' not in text


def test_without_shards_nothing_is_shown() -> None:
    assert page() == ""
