"""Where engines come from: the newest bundle first, and no damage reaches the live one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from model.artifact import ITEMS, MANIFEST, WEIGHTS, write_bundle
from model.config import ModelConfig
from service.core.errors import ModelVersionNotFound, ReloadRefused
from service.core.ports import TopK, Turn
from service.engine import BundleModels, BundleRefused
from tests.model.builders import bundle_of

CONFIG = ModelConfig(items=6, dim=4, layers=1)
pytestmark = pytest.mark.anyio


def publish(root: Path, version: str, created: str) -> Path:
    write_bundle(root / version, bundle_of(CONFIG, seed=len(version), version=version, created=created))
    return root / version


@pytest.fixture
def root(tmp_path: Path) -> Path:
    publish(tmp_path, "old", "2026-01-01")
    publish(tmp_path, "newest", "2026-03-01")
    publish(tmp_path, "between", "2026-02-01")
    return tmp_path


async def started(root: Path) -> BundleModels:
    models = BundleModels(root, 100)
    await models.start()
    return models


def damage(folder: Path) -> None:
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (folder / WEIGHTS).write_bytes(data)


async def test_the_newest_bundle_is_loaded_first(root: Path) -> None:
    assert (await started(root)).live.version == "newest"


async def test_a_single_bundle_may_be_named(root: Path) -> None:
    assert (await started(root / "old")).live.version == "old"


async def test_before_the_start_there_is_no_model(root: Path) -> None:
    with pytest.raises(RuntimeError, match="no model"):
        _ = BundleModels(root, 100).live


async def test_reload_takes_the_newest_or_the_named_version(root: Path) -> None:
    models = await started(root)
    before = models.live
    assert (await models.reload("old")).version == models.live.version == "old"
    assert before.version == "newest", "whoever holds the former engine keeps it"
    publish(root, "brand-new", "2026-04-01")
    assert (await models.reload(None)).version == "brand-new"
    (answer,) = models.live.run([Turn(None, ("i1",), TopK(3, exclude_seen=True))])
    assert not isinstance(answer, Exception)


async def test_a_version_that_is_not_there_is_not_found(root: Path) -> None:
    models = await started(root)
    live = models.live
    for version in ("absent", "../old", ""):
        with pytest.raises(ModelVersionNotFound):
            await models.reload(version)
    assert models.live is live


@pytest.mark.parametrize("version", ["old", None])
async def test_a_damaged_bundle_is_refused_and_the_live_one_stays(root: Path, version: str | None) -> None:
    models = await started(root)
    live = models.live
    damage(root / (version or "newest"))
    with pytest.raises(ReloadRefused, match="the live model stays") as refused:
        await models.reload(version)
    assert len(refused.value.message.splitlines()) == 1
    assert models.live is live


async def test_a_folder_that_went_away_is_refused_and_the_live_one_stays(root: Path) -> None:
    models = await started(root)
    live = models.live
    shutil.rmtree(root)
    with pytest.raises(ReloadRefused):
        await models.reload(None)
    assert models.live is live


async def test_a_metric_that_is_no_number_is_refused(root: Path) -> None:
    """JSON has no NaN, so /v1/model could not say it."""
    manifest = json.loads((root / "old" / MANIFEST).read_bytes())
    (root / "old" / MANIFEST).write_text(json.dumps(manifest | {"metrics": {"ndcg@10": float("nan")}}))
    with pytest.raises(BundleRefused):
        await started(root / "old")


@pytest.mark.parametrize("kind", ["absent", "empty", "damaged", "no items", "file"])
async def test_no_start_without_a_bundle(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "models"
    if kind == "empty":
        root.mkdir()
    elif kind == "damaged":
        damage(publish(root, "v1", "2026-01-01"))
    elif kind == "no items":
        (publish(root, "v1", "2026-01-01") / ITEMS).unlink()
    elif kind == "file":
        root.write_text("x")
    with pytest.raises(BundleRefused) as refused:
        await BundleModels(root, 100).start()
    assert str(refused.value).startswith("RECBLR_BUNDLE: ")
    assert len(str(refused.value).splitlines()) == 1
