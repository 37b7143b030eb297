"""Many clients write one user through two workers at the same time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from model.bundle.bundle import write_bundle
from model.config import ModelConfig
from tests.end_to_end.service import RunningService
from tests.faults.harness.catalogue_traffic import CatalogueTraffic
from tests.faults.harness.load_checks import check_load
from tests.faults.harness.modes import report, short_or_long
from tests.faults.harness.population import audit_all_users
from tests.faults.harness.writers import Load
from tests.model.builders import bundle_of
from tests.servers import RedisServer

pytestmark = [pytest.mark.faults, pytest.mark.alone]

SEED = 20261128
WRITERS, ITEMS = 32, 40
BUNDLE = bundle_of(ModelConfig(items=ITEMS, dim=16))


@pytest.mark.parametrize("backend", ["redis", "sqlite"])
def test_concurrent_writers_of_one_user_lose_and_double_nothing(tmp_path: Path, backend: str) -> None:
    write_bundle(tmp_path / "bundle", BUNDLE)
    settings = {"RECBLR_EVENTS_KEPT": "100000"}
    with RedisServer() as server:
        url = server.url if backend == "redis" else f"sqlite:///{tmp_path}/log.db"
        first = RunningService(_folder(tmp_path, "1"), url, tmp_path / "bundle", **settings)
        second = RunningService(_folder(tmp_path, "2"), url, tmp_path / "bundle", **settings)
        with first, second:
            asyncio.run(_write((first.url, second.url), url, backend))


def _folder(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir()
    return folder


async def _write(urls: tuple[str, str], url: str, backend: str) -> None:
    items = [f"i{row}" for row in range(1, ITEMS + 1)]
    # Two services of one worker: two workers on one port may leave all the work to one.
    load = Load(urls[0], ["one"], items, SEED, second_url=urls[1], writers=WRITERS)
    traffic = CatalogueTraffic(urls[0], url, items, SEED, second_url=urls[1])
    async with traffic.running():
        await load.write(short_or_long(10, 100))
        await traffic.wait_for_writes(20)
    result = await check_load(load, [BUNDLE], None, traffic)
    audit = await audit_all_users(urls[1], url)
    report(
        "concurrent writers of one user through two workers",
        backend=backend,
        writers=WRITERS,
        seed=SEED,
        acknowledged=len(load.acknowledged),
        answers=len(load.answers),
        statuses=dict(load.statuses),
        **traffic.figures(),
        **result.figures(),
        **audit.figures(),
    )
    assert result.clean(), result
    assert audit.sequences == {"one": len(load.sent)}
    assert load.statuses == {"200": len(load.answers)}
    assert len(load.answers) > len(load.sent)  # some events were sent twice
    assert audit.damaged == 0
    assert audit.max_relative_error <= 1e-5
