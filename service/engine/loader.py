"""Loader of bundles: verifies them and warms up their engines."""

from __future__ import annotations

import asyncio
import logging
import math
import sys
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from model.bundle.ab_test_mark import without_marked
from model.bundle.bundle import Bundle, load_files
from model.bundle.manifest import BundleError, ManifestReader
from model.compiled.jit import cache_folder, compilations, statistics
from model.memory_errors import is_out_of_memory
from service.core.engine_requests import AllowedRows, EngineRequest, EngineResult, RankCandidates, TopK
from service.core.errors import BundleRefusedError, ModelVersionNotFound, StateDamagedError
from service.core.new_items.encoder_input import ItemContent
from service.core.ports import Engine, ModelVersion
from service.engine.background_load import run_in_background
from service.engine.cpu.cpu_engine import CpuEngine
from service.engine.search.ivf_pq import MIN_INDEXED_ITEMS

_log = logging.getLogger(__name__)


class DeviceRefusedError(Exception):
    """The service cannot start on this device.

    The message gives the reason in one sentence.
    """


class BundleLoader:
    """Loads one bundle, or those of a model registry; see core.ports.Bundles."""

    def __init__(
        self,
        path: Path,
        seen_limit: int,
        min_recall: float = 0.99,
        key: bytes | None = None,
        device: Literal["cpu", "cuda"] = "cpu",
        indexed: bool = True,
    ) -> None:
        """Configure the engines to load.

        Args:
            path: a bundle, or a model registry.
            seen_limit: how many of a user's last items a state keeps.
            min_recall: recall@10 below which a search index is not used.
            key: only bundles signed with this key are loaded.
            device: where the engines run.
            indexed: build the search index of a large catalogue, which takes minutes.
        """
        self._path = path
        self._device = device
        self._min_recall, self._min_indexed_items = min_recall, MIN_INDEXED_ITEMS if indexed else sys.maxsize
        self._seen_limit = seen_limit
        self._key = key
        self._manifests = ManifestReader(path, key)
        self._last_listing: frozenset[tuple[str, int, int, int]] = frozenset()
        self._has_loaded = False

    async def published(self) -> list[ModelVersion]:
        """List the published model versions; see core.ports.Bundles."""
        return await asyncio.to_thread(self._published)

    async def changed(self) -> bool:
        """Return whether the bundles may have changed since the last call.

        Opens no file.
        """
        before, self._last_listing = self._last_listing, await asyncio.to_thread(self._listing)
        return self._last_listing != before

    async def loadable(self) -> Collection[str]:
        """Return all versions of the registry; see core.ports.Bundles."""
        try:
            return tuple(await asyncio.to_thread(self._manifests.find))
        except BundleError as error:
            raise _refused(error, self._path, "the bundle folder") from None

    async def load(self, version: str) -> Engine:
        """Load one version; see core.ports.Bundles.

        Raises:
            DeviceRefusedError: the device cannot be used. The first load finds out.
        """
        if self._has_loaded:
            return await run_in_background(partial(self._load, version))
        engine = await asyncio.to_thread(self._load, version)  # of a start: there are no live requests to protect
        self._has_loaded = True
        return engine

    def _published(self) -> list[ModelVersion]:
        try:
            manifests = self._manifests.find()
        except BundleError as error:
            raise _refused(error, self._path, "the bundle folder") from None
        served = without_marked(self._path, [*manifests])
        return [ModelVersion(version, (manifests[version].created, version)) for version in served]

    def _listing(self) -> frozenset[tuple[str, int, int, int]]:
        """Return path, inode, size and time of all files of the versions."""
        found: set[tuple[str, int, int, int]] = set()
        folders = [self._path]
        for folder in folders:
            with suppress(OSError):  # removed meanwhile, or not a readable folder
                for path in (folder, *folder.iterdir()):
                    with suppress(OSError):
                        state = path.stat()
                        found.add((str(path), state.st_ino, state.st_size, state.st_mtime_ns))
                        if folder is self._path and path is not folder and path.name[:1] != ".":
                            folders.append(path)
        return frozenset(found)

    def _load(self, version: str) -> Engine:
        try:
            return self._load_and_warm_up(version)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        # Outside the handler, because a chained exception would keep everything that was loaded by then.
        raise BundleRefusedError(f"version {version} needs more memory than is left ({self._device})")

    def _load_and_warm_up(self, version: str) -> Engine:
        try:
            manifests = self._manifests.find()
        except BundleError as error:
            raise _refused(error, self._path, "the bundle folder") from None
        if version not in manifests:
            raise ModelVersionNotFound(f"there is no version {version!r}; there are {', '.join(manifests)}")
        manifest = manifests[version]
        try:
            bundle = load_files(manifest)
        except BundleError as error:
            raise _refused(error, manifest.folder, version) from None
        build = self._engine_builder()
        if not statistics():  # no kernel has run in this process
            _log.info("warming up the engine; the first start compiles it, which takes about half a minute")
        started, compiled = time.monotonic(), compilations()
        engine = build(bundle)
        warm(engine)
        log_warm_up(time.monotonic() - started, compilations() - compiled)
        return engine

    def _engine_builder(self) -> Callable[[Bundle], Engine]:
        """Return what builds an engine on the device; raises `DeviceRefusedError`."""
        if self._device == "cpu":
            return lambda bundle: CpuEngine(bundle, self._seen_limit, self._min_recall, self._min_indexed_items)
        try:  # imported here, because the default server is installed without torch
            from service.engine.cuda.cuda_engine import CudaEngine
            from service.engine.cuda.cuda_graph import missing
        except ImportError:
            raise DeviceRefusedError(
                "RECBLR_DEVICE: cuda (an NVIDIA GPU) needs PyTorch: install the extra gpu "
                "(pip install -e '.[gpu]' in a clone), or set it to cpu."
            ) from None
        if reason := missing():
            raise DeviceRefusedError(f"RECBLR_DEVICE: {reason}, or set it to cpu.")
        return lambda bundle: CudaEngine(bundle, self._seen_limit)


def _refused(error: BundleError, folder: Path, name: str) -> BundleRefusedError:
    """Return an error for clients, without the folder's path."""
    return BundleRefusedError(str(error).replace(str(folder), name), for_log=str(error))


def warm(engine: Engine) -> None:
    """Run every kind of request once.

    No live request then waits for the compiler or a cold page.
    """
    top_two = _run_one(engine, EngineRequest(None, (), TopK(2, exclude_seen=True))).items
    items = tuple(item.item_id for item in top_two)
    state = _run_one(engine, EngineRequest(None, items, RankCandidates(items))).state
    # Five requests take both the path of four queries and that of a single one.
    engine.run([EngineRequest(state, items, TopK(10, exclude_seen=True), tuple(range(len(items))))] * 5)
    warm_filters(engine, items, state)
    warm_extension(engine)
    engine.similar(items[0], 1)
    engine.difference(state, state)


def warm_filters(engine: Engine, items: tuple[str, ...], state: bytes) -> None:
    """Run requests under filters that allow few, some and all items."""
    count = len(engine.item_ids)
    for share in (0.0, 0.01, 1.0):
        allowed = AllowedRows.of(np.arange(count + 1) <= math.ceil(share * count))
        query = TopK(10, exclude_seen=True, allowed=allowed, exclude=items)
        engine.run([EngineRequest(state, (), query), EngineRequest(None, (), query)] * 3)
        _run_one(engine, EngineRequest(state, (), query))
        engine.similar(items[0], 1, allowed, items)


def warm_extension(engine: Engine) -> None:
    """Run requests that find an appended item, if items can be appended."""
    if engine.encoder is None:
        return
    (vector,), _ = engine.encoder.encode_all([ItemContent()])
    engine.extend(1, [("", vector)])
    allowed = AllowedRows.of(np.ones(len(engine.item_ids) + 2, np.bool_))
    engine.run([EngineRequest(None, ("",), TopK(10, exclude_seen=True, allowed=allowed), (0,))] * 5)
    engine.similar("", 1, allowed)
    engine.reset_extension()


def log_warm_up(seconds: float, compiled: int) -> None:
    """Log a warm-up, with the number of signatures it compiled.

    Warns if every start will compile again.
    """
    if not compiled:
        _log.info("engine warmed up, all machine code was cached: seconds=%.1f", seconds)
    elif (folder := cache_folder()) is None:
        _log.warning(
            "engine compiled, but the machine code could not be kept, so every start compiles again; "
            "set NUMBA_CACHE_DIR to a writable folder with space that outlives the process: seconds=%.1f",
            seconds,
        )
    else:
        _log.info("engine compiled: seconds=%.1f cache=%s", seconds, folder)


def _run_one(engine: Engine, request: EngineRequest) -> EngineResult:
    (result,) = engine.run([request])
    if isinstance(result, StateDamagedError):
        raise result
    return result
