"""Loader of bundles: versions, refusals, and what a reload reads."""

from __future__ import annotations

import asyncio
import gc
import json
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from model.bundle.bundle import ITEMS, MANIFEST, WEIGHTS, Bundle, write_bundle
from model.config import ModelConfig
from service.core.engine_requests import EngineRequest, TopK
from service.core.errors import BundleRefusedError, ModelVersionNotFound
from service.core.ports import Engine
from service.engine import BundleLoader, background_load
from tests.model.builders import bundle_of
from tests.model.bundle.opened_files import opened_files

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


async def test_versions_are_listed_in_order_of_creation(root: Path) -> None:
    published = await BundleLoader(root, 100).published()
    assert [bundle.version for bundle in published] == ["old", "between", "newest"]
    assert published == sorted(published, key=lambda bundle: bundle.order)


async def test_path_may_be_a_single_bundle(root: Path) -> None:
    folder = BundleLoader(root / "old", 100)
    assert [bundle.version for bundle in await folder.published()] == ["old"]
    assert (await folder.load("old")).version == "old"


async def test_loaded_engine_answers(root: Path) -> None:
    engine = await BundleLoader(root, 100).load("between")
    assert engine.version == "between"
    (answer,) = engine.run([EngineRequest(None, ("i1",), TopK(3, exclude_seen=True))])
    assert not isinstance(answer, Exception)


async def test_reload_reads_each_manifest_once(root: Path) -> None:
    loader = BundleLoader(root, 100)
    await loader.load("old")
    publish(root, "brand-new", "2026-04-01")
    with opened_files(MANIFEST) as opened:
        version = (await loader.published())[-1].version
        assert (await loader.load(version)).version == "brand-new"
    assert [path.parent.name for path in opened] == ["brand-new"]
    with opened_files(MANIFEST) as opened:
        first = BundleLoader(root, 100)
        await first.load((await first.published())[-1].version)
    assert sorted(path.parent.name for path in opened) == ["between", "brand-new", "newest", "old"]


async def test_unreferenced_engine_is_freed_at_once(root: Path) -> None:
    """Also after gc.freeze, because the engine has no reference cycle."""
    engine = await BundleLoader(root, 100).load("old")
    gc.freeze()
    alive = [weakref.ref(engine), weakref.ref(engine._recurrence), weakref.ref(engine._search)]  # type: ignore[attr-defined]
    gc.disable()
    try:
        del engine
        await asyncio.sleep(0.05)  # until the event loop has released it
        assert [each() for each in alive] == [None] * 3
    finally:
        gc.enable()
        gc.unfreeze()


async def test_unknown_version_is_not_found(root: Path) -> None:
    for version in ("absent", "../old", ""):
        with pytest.raises(ModelVersionNotFound):
            await BundleLoader(root, 100).load(version)


async def test_damaged_bundle_is_refused_in_one_line(root: Path) -> None:
    damage(root / "old")
    with pytest.raises(BundleRefusedError, match="is damaged") as refused:
        await BundleLoader(root, 100).load("old")
    assert len(str(refused.value).splitlines()) == 1
    # Clients see the bundle's name, the log also its path.
    assert str(refused.value).startswith("old/weights.safetensors is damaged")
    assert refused.value.for_log.startswith(f"{root}/old/weights.safetensors is damaged")


class Raising(BundleLoader):
    """Loader whose engines cannot be created."""

    def __init__(self, root: Path, error: Exception) -> None:
        super().__init__(root, 100)
        self._error = error

    def _engine_builder(self) -> Callable[[Bundle], Engine]:
        def build(bundle: Bundle) -> Engine:
            raise self._error

        return build


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.81 GiB.\nGPU 0 has less"),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported later"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
async def test_lack_of_memory_is_refused_in_one_line(root: Path, error: Exception) -> None:
    with pytest.raises(BundleRefusedError, match="memory") as refused:
        await Raising(root, error).load("old")
    assert len(str(refused.value).splitlines()) == 1
    assert refused.value.__context__ is None  # a context would keep what was loaded by then


async def test_other_errors_of_a_load_are_raised(root: Path) -> None:
    with pytest.raises(RuntimeError, match="a fault"):
        await Raising(root, RuntimeError("a fault")).load("old")


async def test_only_the_load_of_a_start_has_normal_priority(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lowered: list[str] = []
    monkeypatch.setattr(background_load, "lower_thread_priority", lambda: lowered.append("lowered"))
    for _ in ("the check of a start", "its worker"):
        loader = BundleLoader(root, 100)
        await loader.load("old")
        assert lowered == []
    await loader.load("newest")
    assert lowered == ["lowered"]


async def test_removed_folder_is_refused(root: Path) -> None:
    folder = BundleLoader(root, 100)
    shutil.rmtree(root)
    with pytest.raises(BundleRefusedError):
        await folder.load("old")


async def test_added_growing_and_removed_bundles_are_changes(root: Path) -> None:
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


async def test_link_to_another_bundle_is_a_change(root: Path) -> None:
    (root / "current").symlink_to(root / "old")
    folder = BundleLoader(root / "current", 100)
    await folder.changed()
    (root / "current").unlink()
    (root / "current").symlink_to(root / "newest")
    assert await folder.changed()
    assert [bundle.version for bundle in await folder.published()] == ["newest"]


async def test_metric_that_is_not_a_number_is_refused(root: Path) -> None:
    """JSON has no NaN, so /v1/model could not return it."""
    manifest = json.loads((root / "old" / MANIFEST).read_bytes())
    (root / "old" / MANIFEST).write_text(json.dumps(manifest | {"metrics": {"ndcg@10": float("nan")}}))
    with pytest.raises(BundleRefusedError):
        await BundleLoader(root / "old", 100).published()


@pytest.mark.parametrize("kind", ["absent", "empty", "damaged", "no items", "file"])
async def test_load_without_a_valid_bundle_is_refused(tmp_path: Path, kind: str) -> None:
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
