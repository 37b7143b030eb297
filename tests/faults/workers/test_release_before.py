"""The release before event types beside this one, on one Redis.

The long form alone: a start of the release before compiles its engine.
"""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from model.bundle.bundle import write_bundle
from model.config import ModelConfig
from tests.end_to_end.service import RunningService
from tests.environment import ROOT
from tests.faults.harness.attributed_counts import check_counts
from tests.faults.harness.load_checks import check_load
from tests.faults.harness.modes import LONG, report
from tests.faults.harness.shoppers import Shoppers
from tests.faults.harness.writers import Load
from tests.model.builders import bundle_of
from tests.servers import RedisServer

pytestmark = [pytest.mark.faults, pytest.mark.skipif(not LONG, reason="the long form starts an old release")]

RELEASE_BEFORE = "a2ecda6"  # the commit before events had types
SEED, ITEMS, USERS = 20261201, 100, 40
ID_KEY = "key-of-the-ids-of-this-test-alone-2"
BUNDLE = bundle_of(ModelConfig(items=ITEMS, dim=16))


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """The sources of the release before."""
    archive = subprocess.run(["git", "archive", RELEASE_BEFORE], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        pytest.fail(f"the clone lacks commit {RELEASE_BEFORE}; fetch it by `git fetch --unshallow`")
    folder = tmp_path / "release-before"
    folder.mkdir()
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return folder


def test_old_and_new_workers_share_a_store_until_the_old_one_is_replaced(tmp_path: Path, sources: Path) -> None:
    write_bundle(tmp_path / "bundle", BUNDLE)
    folders = [tmp_path / name for name in ("old", "new", "second")]
    for folder in folders:
        folder.mkdir()
    kept = {"RECBLR_EVENTS_KEPT": "100000"}
    with RedisServer() as server:
        old = RunningService(folders[0], server.url, tmp_path / "bundle", sources=sources, **kept)
        new, second = (
            RunningService(folder, server.url, tmp_path / "bundle", RECBLR_ID_KEYS=ID_KEY, **kept)
            for folder in folders[1:]
        )
        with old, new, second:
            asyncio.run(_upgrade(old, new, second))


async def _upgrade(old: RunningService, new: RunningService, second: RunningService) -> None:
    """Run both releases, and replace the old one by the second.

    Writers send the same plain events to both, so that retries cross the upgrade. Shoppers send typed events to the
    new one, and plain events of the same users to the old one.
    """
    items, plain = [f"i{row}" for row in range(1, ITEMS + 1)], [f"plain{n}" for n in range(20)]
    both = Load(old.url, plain, items, SEED, second_url=new.url, pause_seconds=0.05, duplicate_fraction=0.5)
    shoppers = Shoppers(new.url, [f"typed{n}" for n in range(USERS)], SEED, plain_url=old.url)
    async with both.running(), shoppers.running():
        await asyncio.gather(both.wait_for_acknowledged(400), shoppers.wait_for_answered(2_000))
    assert await asyncio.to_thread(old.stop) == 0
    after = Load(second.url, plain, items, SEED + 1, second_url=new.url, pause_seconds=0.05)
    after.sent, after.acknowledged, after.answers = dict(both.sent), dict(both.acknowledged), list(both.answers)
    repeated = [await after.repeat(number) for number in list(both.acknowledged)[:200]]
    result = await check_load(after, [BUNDLE])
    report(
        "the release before event types beside this one",
        seed=SEED,
        acknowledged=len(both.acknowledged),
        statuses=dict(both.statuses),
        repeated_after_the_upgrade=len(repeated),
        **result.figures(),
    )
    assert not both.contradictions, both.contradictions[:3]
    assert all(repeated)  # duplicates, not conflicts
    assert result.clean(), result
    await check_counts(shoppers, ID_KEY, "the release before event types beside this one: counts", seed=SEED)
