"""A/B tests that are interrupted, ended by others, or decided."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from ingest.errors import DataError
from model.bundle.ab_test_mark import mark_path
from model.bundle.bundle import write_bundle
from model.config import ModelConfig
from model.training.ab_test.ab_test_record import AbTestRecord, read_record, unfinished_tests
from model.training.ab_test.promotion import AbTestSettings, run_ab_test
from model.training.publishing.registry import newest_bundle, publish
from tests.model.builders import bundle_of
from tests.model.training.ab_test.fake_service import FakeService

FAST = AbTestSettings(poll_seconds=0.001)
NEW, OLD = "20260102T000000Z-00000002", "20260101T000000Z-00000001"


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """A registry with one version."""
    write_bundle(
        tmp_path / "bundles" / OLD, bundle_of(ModelConfig(5), version=OLD, created="2026-01-01T00:00:00+00:00")
    )
    return tmp_path / "bundles"


def publish_marked(registry: Path, url: str, hours: float = 1.0) -> AbTestRecord:
    """Publish the new version for an A/B test only."""
    bundle = bundle_of(ModelConfig(5), version=NEW, created="2026-01-02T00:00:00+00:00")
    write_bundle(registry.parent / "candidate", bundle)
    record = AbTestRecord(url, 0.5, hours, 0.05)
    publish(registry, registry.parent / "candidate", record.to_json())
    return record


def names(registry: Path) -> list[str]:
    return sorted(path.name for path in registry.iterdir())


def test_marked_version_is_not_the_newest(registry: Path) -> None:
    publish_marked(registry, "http://localhost:1")
    assert unfinished_tests(registry) == [NEW]
    newest = newest_bundle(registry)
    assert newest is not None
    assert newest.name == OLD


@pytest.mark.parametrize(("hits", "outcome"), [((60, 5), "withdrawn"), ((60, 55), "promoted")])
def test_decided_test_leaves_no_mark(registry: Path, hits: tuple[int, int], outcome: str) -> None:
    with FakeService(OLD) as service:
        publish_marked(registry, service.url)
        service.traffic = {OLD: (60, 30), NEW: hits}
        result = run_ab_test(registry, NEW, FAST)
    assert (result["outcome"], result["candidate"]["hr@10"]) == (outcome, pytest.approx(hits[1] / 60))
    assert (service.live, service.tested) == (NEW if outcome == "promoted" else OLD, None)
    assert names(registry) == (sorted([OLD, NEW]) if outcome == "promoted" else [f".withdrawn-{NEW}", OLD])


def test_test_without_a_decision_is_promoted_after_the_longest_time(registry: Path) -> None:
    with FakeService(OLD) as service:
        publish_marked(registry, service.url, hours=1e-6)
        result = run_ab_test(registry, NEW, FAST)
    assert (result["outcome"], result["decision"], service.live) == ("promoted", "undecided", NEW)


@pytest.mark.parametrize("has_begun", [False, True])
def test_interrupted_test_goes_on_with_its_counters(registry: Path, has_begun: bool) -> None:
    """The job was killed before or after it recorded the begin."""
    with FakeService(OLD, NEW) as service:
        record = publish_marked(registry, service.url)
        service.hits = {OLD: (500, 250), NEW: (500, 50)}
        if has_begun:
            counters = {"last": [[["events", NEW, "warm"], 200], [["hits", NEW, "warm"], 20]], "totals": []}
            replace(record, live=OLD, started=time.time(), counters=counters).write(registry, NEW)
        service.traffic = {OLD: (100, 50), NEW: (100, 10)}
        result = run_ab_test(registry, NEW, FAST)
    assert (result["outcome"], service.live) == ("withdrawn", OLD)
    assert "POST /v1/admin/test" not in service.requests
    # What came between the two jobs counts, if it is known where the first one was.
    assert (result["candidate"]["events"] >= 400) is has_begun


@pytest.mark.parametrize(("winner", "outcome"), [(OLD, "withdrawn"), (NEW, "promoted")])
def test_test_that_an_operator_has_ended_follows_the_decision(registry: Path, winner: str, outcome: str) -> None:
    with FakeService(winner) as service:
        record = publish_marked(registry, service.url)
        replace(record, live=OLD, started=time.time()).write(registry, NEW)
        result = run_ab_test(registry, NEW, FAST)
    assert (result["outcome"], result["decision"], service.live) == (outcome, "ended by an operator", winner)
    assert not any(request.startswith("POST") for request in service.requests)
    assert unfinished_tests(registry) == []


def test_service_that_is_down_leaves_the_version_publish_marked(registry: Path) -> None:
    with FakeService(OLD) as service:
        publish_marked(registry, service.url)
        service.is_down = True
        with pytest.raises(DataError, match="503"):
            run_ab_test(registry, NEW, FAST)
    assert unfinished_tests(registry) == [NEW]


def test_mark_without_a_version_is_removed(registry: Path) -> None:
    AbTestRecord("http://localhost:1", 0.5, 1.0, 0.05).write(registry, NEW)
    assert unfinished_tests(registry) == []
    assert names(registry) == [OLD]


def test_damaged_record_is_named(registry: Path) -> None:
    publish_marked(registry, "http://localhost:1")
    mark_path(registry, NEW).write_text("{")
    with pytest.raises(DataError, match=rf"\.ab-test-{NEW} cannot be read"):
        read_record(registry, NEW)
