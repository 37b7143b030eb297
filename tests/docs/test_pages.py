"""Names in the documentation are those of the code."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from model.training.cli.scheduled_job import PUBLISHED, job_metrics
from service.core.attribution.credits import parse_counters
from service.core.engine_requests import TargetRank
from service.observability.metrics import PrometheusMeter
from service.settings import PREFIX, Settings
from service.settings_reference import settings_table
from tests.docs.pages import PAGES, ROOT

DECISIONS = ROOT / "docs" / "decisions"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_settings_named_in_docs_exist(page: Path) -> None:
    known = {PREFIX + field.upper() for field in Settings.model_fields} | {PREFIX + "NAME"}
    known.add("RECBLR_API_KEY")  # read by `recblr-events`, not by the service
    assert set(re.findall(rf"\b{PREFIX}[A-Z_]+", page.read_text())) <= known


def test_readme_is_an_overview() -> None:
    assert (ROOT / "README.md").read_text().count("\n") < 150


def test_decisions_are_numbered_without_gaps_and_indexed() -> None:
    files = sorted(path.name for path in DECISIONS.glob("0*.md"))
    assert [int(name[:4]) for name in files] == list(range(1, len(files) + 1))
    index = (DECISIONS / "README.md").read_text()
    assert sorted(re.findall(r"\((0\d{3}-[\w-]+\.md)\)", index)) == files


def test_decisions_cited_in_code_exist() -> None:
    numbers = {path.name[:4] for path in DECISIONS.glob("0*.md")}
    for folder in ("service", "model", "ingest", "loadtests", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            cited = set(re.findall(r"[Dd]ecisions? (\d{4})", path.read_text("utf-8")))
            assert cited <= numbers, path


def test_configuration_has_the_table_of_all_settings() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    table = page.partition("settings_reference` -->\n\n")[2].partition("\n<!-- end of settings")[0]
    assert table == settings_table(), "run `python -m service.settings_reference` and put its output there"


def retrain_metrics() -> set[str]:
    """Return the names of the metrics of `retrain`."""
    figures = {"ndcg@10": 0.5}
    found = job_metrics(PUBLISHED, {"compared_events": 1, "new": figures, "live": figures}, 0.0, 1.0)
    return {f"recblr_retrain_{name.partition('{')[0]}" for name in found}


def exported_metrics() -> set[str]:
    """Return the names of all metrics, of the service and of `retrain`."""

    async def metrics_page() -> str:
        meter = PrometheusMeter()
        meter.served_versions(("v1",))
        meter.event_evaluated("v1", TargetRank(cold=False, among_all=1, among_unseen=1))
        meter.update()
        return meter.render([parse_counters({"p:0:v1:1:c": 1})]).decode()

    exported = {family.name for family in text_string_to_metric_families(asyncio.run(metrics_page()))}
    return exported | retrain_metrics()


def test_metrics_named_in_docs_exist() -> None:
    exported = exported_metrics()
    for page in PAGES:
        for name in re.findall(r"\brecblr_[a-z_0-9]+", page.read_text()):
            assert name.removesuffix("_total") in exported, f"{page.name}: {name}"
