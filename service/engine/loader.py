"""Finds bundles and loads them: core.ports.Bundles."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Literal

from model.bundle.bundle import Bundle, BundleError, find_bundles, load_bundle, read_manifest
from service.core.engine_requests import EngineRequest, EngineResult, RankCandidates, StateDamagedError, TopK
from service.core.errors import ModelVersionNotFound
from service.core.ports import BundleRefusedError, Engine, ModelVersion
from service.engine.background_load import aside
from service.engine.cpu.cpu_engine import CpuEngine
from service.engine.jit import compilations, log_compilation, statistics

_log = logging.getLogger(__name__)


class DeviceRefusedError(Exception):
    """The service cannot start on this device; the message says why in one sentence."""


class BundleLoader:
    """The bundles at `path`: one bundle, or a folder of versions. See core.ports.Bundles.

    With `key` only bundles that carry its signature are loaded.
    """

    def __init__(
        self,
        path: Path,
        seen_limit: int,
        min_recall: float = 0.99,
        key: bytes | None = None,
        device: Literal["cpu", "cuda"] = "cpu",
    ) -> None:
        self._path = path
        self._device = device
        self._min_recall = min_recall
        self._seen_limit = seen_limit
        self._key = key
        self._stamp: frozenset[tuple[str, int, int, int]] = frozenset()

    async def published(self) -> list[ModelVersion]:
        """See core.ports.Bundles."""
        return await asyncio.to_thread(self._published)

    async def changed(self) -> bool:
        """See core.ports.Bundles. No file is opened for it."""
        before, self._stamp = self._stamp, await asyncio.to_thread(self._stamp_now)
        return self._stamp != before

    async def load(self, version: str) -> Engine:
        """See core.ports.Bundles; at a first load `DeviceRefusedError`, too."""
        if not statistics():  # no kernel has run in this process, so nobody waits for an answer either
            return await asyncio.to_thread(self._load, version)
        return await aside(partial(self._load, version))

    def _published(self) -> list[ModelVersion]:
        try:
            found = find_bundles(self._path, self._key)
            created = {version: read_manifest(folder, self._key)["created"] for version, folder in found.items()}
        except BundleError as error:
            raise _refusal(error, self._path, "the bundle folder") from None
        return [ModelVersion(version, (created[version], version)) for version in found]

    def _stamp_now(self) -> frozenset[tuple[str, int, int, int]]:
        """Inode, size and time of the folder and of all that lies in it and in its versions."""
        found: set[tuple[str, int, int, int]] = set()
        folders = [self._path]
        for folder in folders:
            with suppress(OSError):  # it went away meanwhile, or is no folder
                for path in (folder, *folder.iterdir()):
                    state = path.stat()
                    found.add((str(path), state.st_ino, state.st_size, state.st_mtime_ns))
                    if folder is self._path and path is not folder and path.is_dir() and path.name[:1] != ".":
                        folders.append(path)
        return frozenset(found)

    def _load(self, version: str) -> Engine:
        try:
            return self._loaded(version)
        except (MemoryError, RuntimeError) as error:
            if not _lacks_memory(error):
                raise
        # Not in the handler: an exception holds on to the one it came from, and so to all that was loaded by then.
        raise BundleRefusedError(f"version {version} needs more memory than is left ({self._device})")

    def _loaded(self, version: str) -> Engine:
        try:
            found = find_bundles(self._path, self._key)
        except BundleError as error:
            raise _refusal(error, self._path, "the bundle folder") from None
        if version not in found:
            raise ModelVersionNotFound(f"there is no version {version!r}; there are {', '.join(found)}")
        try:
            bundle = load_bundle(found[version], self._key)
        except BundleError as error:
            raise _refusal(error, found[version], version) from None
        began, compiled = time.monotonic(), compilations()
        engine = self._engine(bundle)
        if not statistics():  # no kernel has run in this process
            _log.info("warming the engine up; a first start compiles it, for about half a minute")
        warm(engine)
        log_compilation(time.monotonic() - began, compilations() - compiled)
        return engine

    def _engine(self, bundle: Bundle) -> Engine:
        if self._device == "cpu":
            return CpuEngine(bundle, self._seen_limit, self._min_recall)
        try:  # here, for the default server is installed without torch
            from service.engine.cuda.cuda_engine import CudaEngine, missing
        except ImportError:
            raise DeviceRefusedError(
                "RECBLR_DEVICE: cuda (an NVIDIA GPU) needs PyTorch: install recblr-service[gpu], or set it to cpu."
            ) from None
        if reason := missing():
            raise DeviceRefusedError(f"RECBLR_DEVICE: {reason}, or set it to cpu.")
        return CudaEngine(bundle, self._seen_limit)


def _lacks_memory(error: Exception) -> bool:
    """Whether it says that memory is used up, a device's too: what CUDA and cuBLAS say, torch raises as it comes."""
    said = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in said or "alloc_failed" in said


def _refusal(error: BundleError, folder: Path, name: str) -> BundleRefusedError:
    """Of `error`, which says in which folder; a client hears the folder's name only."""
    return BundleRefusedError(str(error).replace(str(folder), name), for_log=str(error))


def warm(engine: Engine) -> None:
    """Run all that a request can reach once, so that none of them waits for a compiler or a cold page."""
    items = [found.item_id for found in _one(engine, EngineRequest(None, (), TopK(2, exclude_seen=True))).items]
    state = _one(engine, EngineRequest(None, tuple(items), RankCandidates(tuple(items)))).state
    evaluated = tuple(range(len(items)))
    # Four queries and one go different ways.
    engine.run([EngineRequest(state, tuple(items), TopK(10, exclude_seen=True), evaluated)] * 5)
    engine.similar(items[0], 1)
    engine.difference(state, state)


def _one(engine: Engine, request: EngineRequest) -> EngineResult:
    (answer,) = engine.run([request])
    if isinstance(answer, StateDamagedError):
        raise answer
    return answer
