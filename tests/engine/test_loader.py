"""Where engines come from, and what no engine comes from."""

from __future__ import annotations

import asyncio
import gc
import json
import shutil
import weakref
from pathlib import Path

import pytest
import torch

from model.bundle.bundle import ITEMS, MANIFEST, WEIGHTS, Bundle, write_bundle
from model.config import ModelConfig
from service.core.engine_requests import EngineRequest, TopK
from service.core.errors import BundleRefusedError, ModelVersionNotFound
from service.core.ports import Engine
from service.engine import BundleLoader
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


def damage(folder: Path) -> None:
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (folder / WEIGHTS).write_bytes(data)


async def test_bundles_are_in_order_of_their_creation(root: Path) -> None:
    published = await BundleLoader(root, 100).published()
    assert [bundle.version for bundle in published] == ["old", "between", "newest"]
    assert published == sorted(published, key=lambda bundle: bundle.order)


async def test_a_single_bundle_may_be_named(root: Path) -> None:
    folder = BundleLoader(root / "old", 100)
    assert [bundle.version for bundle in await folder.published()] == ["old"]
    assert (await folder.load("old")).version == "old"


async def test_a_loaded_bundle_answers(root: Path) -> None:
    engine = await BundleLoader(root, 100).load("between")
    assert engine.version == "between"
    (answer,) = engine.run([EngineRequest(None, ("i1",), TopK(3, exclude_seen=True))])
    assert not isinstance(answer, Exception)


async def test_an_engine_that_nobody_holds_is_freed_at_once(root: Path) -> None:
    """Also from among what the start has frozen: nothing in it refers to itself."""
    engine = await BundleLoader(root, 100).load("old")
    gc.freeze()
    alive = [weakref.ref(engine), weakref.ref(engine._recurrence), weakref.ref(engine._search)]  # type: ignore[attr-defined]
    gc.disable()
    try:
        del engine
        await asyncio.sleep(0.05)  # until the event loop has let go of it
        assert [each() for each in alive] == [None] * 3
    finally:
        gc.enable()
        gc.unfreeze()


async def test_a_version_that_is_not_there_is_not_found(root: Path) -> None:
    for version in ("absent", "../old", ""):
        with pytest.raises(ModelVersionNotFound):
            await BundleLoader(root, 100).load(version)


async def test_a_damaged_bundle_is_refused_in_one_line(root: Path) -> None:
    damage(root / "old")
    with pytest.raises(BundleRefusedError, match="is damaged") as refused:
        await BundleLoader(root, 100).load("old")
    assert len(str(refused.value).splitlines()) == 1
    # Clients hear which bundle, the log also where it lies.
    assert str(refused.value).startswith("old/weights.safetensors is damaged")
    assert refused.value.for_log.startswith(f"{root}/old/weights.safetensors is damaged")


class Raising(BundleLoader):
    """No engine is made of what it has read."""

    def __init__(self, root: Path, error: Exception) -> None:
        super().__init__(root, 100)
        self._error = error

    def _engine(self, bundle: Bundle) -> Engine:
        raise self._error


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.81 GiB.\nGPU 0 has less"),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported later"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
async def test_a_bundle_for_which_there_is_no_memory_is_refused_in_one_line(root: Path, error: Exception) -> None:
    with pytest.raises(BundleRefusedError, match="memory") as refused:
        await Raising(root, error).load("old")
    assert len(str(refused.value).splitlines()) == 1
    assert refused.value.__context__ is None  # which would keep what was loaded by then


async def test_another_fault_of_a_load_is_no_refusal(root: Path) -> None:
    with pytest.raises(RuntimeError, match="a fault"):
        await Raising(root, RuntimeError("a fault")).load("old")


async def test_a_folder_that_went_away_is_refused(root: Path) -> None:
    folder = BundleLoader(root, 100)
    shutil.rmtree(root)
    with pytest.raises(BundleRefusedError):
        await folder.load("old")


async def test_what_is_published_or_still_being_copied_is_a_change(root: Path) -> None:
    folder = BundleLoader(root, 100)
    assert await folder.changed()
    assert not await folder.changed()
    publish(root, "brand-new", "2026-04-01")
    assert await folder.changed()
    with (root / "brand-new" / WEIGHTS).open("ab") as file:
        file.write(b"x")
    assert await folder.changed()
    shutil.rmtree(root / "old")
    assert await folder.changed()
    assert not await folder.changed()


async def test_a_link_to_one_bundle_that_is_led_to_another_is_a_change(root: Path) -> None:
    (root / "current").symlink_to(root / "old")
    folder = BundleLoader(root / "current", 100)
    await folder.changed()
    (root / "current").unlink()
    (root / "current").symlink_to(root / "newest")
    assert await folder.changed()
    assert [bundle.version for bundle in await folder.published()] == ["newest"]


async def test_a_metric_that_is_no_number_is_refused(root: Path) -> None:
    """JSON has no NaN, so /v1/model could not say it."""
    manifest = json.loads((root / "old" / MANIFEST).read_bytes())
    (root / "old" / MANIFEST).write_text(json.dumps(manifest | {"metrics": {"ndcg@10": float("nan")}}))
    with pytest.raises(BundleRefusedError):
        await BundleLoader(root / "old", 100).published()


@pytest.mark.parametrize("kind", ["absent", "empty", "damaged", "no items", "file"])
async def test_nothing_is_loaded_where_no_good_bundle_is(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "models"
    if kind == "empty":
        root.mkdir()
    elif kind == "damaged":
        damage(publish(root, "v1", "2026-01-01"))
    elif kind == "no items":
        (publish(root, "v1", "2026-01-01") / ITEMS).unlink()
    elif kind == "file":
        root.write_text("x")
    with pytest.raises(BundleRefusedError) as refused:
        await BundleLoader(root, 100).load("v1")
    assert len(str(refused.value).splitlines()) == 1
    assert str(tmp_path) not in str(refused.value)
    assert str(root) in refused.value.for_log
