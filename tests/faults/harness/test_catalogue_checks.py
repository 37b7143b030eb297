"""The check of the catalogue finds each kind of violation."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from copy import deepcopy
from pathlib import Path

import pytest

from model.bundle.bundle import write_bundle
from model.config import ModelConfig
from service.core.catalogue.items import Item, to_record
from service.core.catalogue_store import ItemWrite
from service.store.factory import open_store
from tests.end_to_end.service import RunningService
from tests.faults.harness.catalogue_checks import check_catalogue
from tests.faults.harness.catalogue_traffic import CatalogueTraffic
from tests.faults.harness.oracle import CheckResult
from tests.model.builders import bundle_of

ITEMS, SEED = 40, 20261130
BUNDLE = bundle_of(ModelConfig(items=ITEMS, dim=8))


def lose_a_write(traffic: CatalogueTraffic) -> None:
    item = traffic.record.named[-1][0]
    traffic.record.acknowledged[item] += 1
    traffic.record.sent[item].append(traffic.record.sent[item][-1])


def misplace_a_write(traffic: CatalogueTraffic) -> None:
    item, number, _ = traffic.record.named[0]
    traffic.record.named[0] = (item, number, traffic.record.named[1][2])


def forget_a_write(traffic: CatalogueTraffic) -> None:
    item = max(traffic.record.sent, key=lambda item: len(traffic.record.sent[item]))
    del traffic.record.sent[item][-1]
    traffic.record.acknowledged[item] -= 1
    traffic.record.named = [each for each in traffic.record.named if each[0] != item]


def drop_an_item(traffic: CatalogueTraffic) -> None:
    asked = next(each for each in traffic.record.asked if each.items)
    traffic.record.asked[traffic.record.asked.index(asked)] = asked._replace(items=asked.items - {min(asked.items)})


def add_an_item(traffic: CatalogueTraffic) -> None:
    asked = next(each for each in traffic.record.asked if len(each.items) < ITEMS)
    more = next(item for item in traffic.items if item not in asked.items)
    traffic.record.asked[traffic.record.asked.index(asked)] = asked._replace(items=asked.items | {more})


CHANGES: dict[str, Callable[[CatalogueTraffic], None]] = {
    "lost_writes": lose_a_write,
    "lost_writes at": misplace_a_write,
    "repeated_writes": forget_a_write,
    "wrong_selections": drop_an_item,
    "wrong_selections too": add_an_item,
}


async def check(traffic: CatalogueTraffic) -> CheckResult:
    result = CheckResult()
    await check_catalogue(traffic, result)
    return result


def test_service_without_faults_is_clean_and_each_violation_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bundle(tmp_path / "bundle", BUNDLE)
    url = f"sqlite:///{tmp_path}/log.db"
    items = [item.item_id for item in BUNDLE.items]

    async def run(service: RunningService) -> None:
        traffic = CatalogueTraffic(service.url, url, items, SEED, pause_seconds=0.001)
        async with traffic.running():
            await traffic.wait_for_writes(200)
        clean = await check(traffic)
        assert clean.clean(), clean
        assert len(traffic.record.asked) > 20
        assert set(traffic.record.writes) == {"200"}
        continued = CatalogueTraffic(service.url, url, items, SEED + 1, continued=traffic)
        async with continued.running():
            await continued.wait_for_writes(20)
        assert (await check(continued)).clean()
        monkeypatch.setattr("tests.faults.harness.catalogue_checks.CONVERGENCE_SECONDS", 0.0)
        for violation, change in CHANGES.items():
            broken = CatalogueTraffic(service.url, url, items, SEED)
            broken.record = deepcopy(continued.record)
            change(broken)
            assert (await check(broken)).figures()[violation.split()[0]], violation
        continued.state_url = await change_a_copy(tmp_path)
        behind = await check(continued)
        assert behind.diverged and behind.repeated_writes + behind.lost_writes

    with RunningService(tmp_path, url, tmp_path / "bundle") as service:
        asyncio.run(run(service))


async def change_a_copy(folder: Path) -> str:
    """Return the URL of a copy of the store with another item."""
    with closing(sqlite3.connect(folder / "log.db")) as source, closing(sqlite3.connect(folder / "copy.db")) as copy:
        source.backup(copy)
    url = f"sqlite:///{folder}/copy.db"
    store = await open_store(url, 1000)
    record = to_record(Item("i1", "another", attributes={"number": 1e6}))
    await store.catalogue.write_items([ItemWrite("i1", record)])
    await store.close()
    return url
