"""Loads bundles and holds the live one: core.ports.Models."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import Literal

from model.artifact import Bundle, BundleError, find_bundles, load_bundle
from service.core.errors import ModelVersionNotFound, ReloadRefused
from service.core.ports import Engine, Folded, Rank, StateDamaged, TopK, Turn
from service.engine.compiled import compilations, log_compilation, statistics
from service.engine.cpu import CpuEngine

_log = logging.getLogger(__name__)


class BundleRefused(Exception):
    """The service cannot start with this bundle; the message says why in one sentence."""


class DeviceRefused(Exception):
    """The service cannot start on this device; the message says why in one sentence."""


class BundleModels:
    """The bundles at `path`: one bundle, or a folder of versions of which the newest is loaded first.

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
        self._live: Engine | None = None
        self._swap = asyncio.Lock()

    async def start(self) -> None:
        """Load and warm the newest bundle; raises `BundleRefused` and `DeviceRefused`."""
        try:
            self._live = await asyncio.to_thread(self._load, None)
        except BundleError as error:
            raise BundleRefused(f"RECBLR_BUNDLE: {error}") from None

    @property
    def live(self) -> Engine:
        """The model that answers now; `start` must have returned."""
        if self._live is None:
            raise RuntimeError("no model is loaded yet")
        return self._live

    @property
    def served(self) -> tuple[Engine, ...]:
        """The models that answer now."""
        return (self.live,)

    def for_user(self, user_id: str) -> Engine:
        """The model that answers this user."""
        return self.live

    async def reload(self, version: str | None) -> Engine:
        """Load `version` (None: the newest) beside the live model, then swap; see core.ports.Models."""
        async with self._swap:
            try:
                self._live = await asyncio.to_thread(self._load, version)
            except BundleError as error:
                raise ReloadRefused(f"the live model stays: {error}") from None
            return self.live

    def _load(self, version: str | None) -> Engine:
        found = find_bundles(self._path, self._key)
        if version is None:
            version = next(reversed(found))
        if version not in found:
            raise ModelVersionNotFound(f"there is no version {version!r}; there are {', '.join(found)}")
        began, compiled = time.monotonic(), compilations()
        engine = self._engine(load_bundle(found[version], self._key))
        if not statistics():  # no kernel has run in this process
            _log.info("warming the engine up; a first start compiles it, for about half a minute")
        warm(engine)
        log_compilation(time.monotonic() - began, compilations() - compiled)
        return engine

    def _engine(self, bundle: Bundle) -> Engine:
        if self._device == "cpu":
            return CpuEngine(bundle, self._seen_limit, self._min_recall)
        try:  # here, for the default server is installed without torch
            from service.engine.torch_engine import TorchEngine, missing
        except ImportError:
            raise DeviceRefused(
                "RECBLR_DEVICE: cuda (an NVIDIA GPU) needs PyTorch: install recblr-service[gpu], or set it to cpu."
            ) from None
        if reason := missing():
            raise DeviceRefused(f"RECBLR_DEVICE: {reason}, or set it to cpu.")
        return TorchEngine(bundle, self._seen_limit)


def warm(engine: Engine) -> None:
    """Run all that a request can reach once, so that none of them waits for a compiler or a cold page."""
    items = [found.item_id for found in _one(engine, Turn(None, (), TopK(2, exclude_seen=True))).items]
    state = _one(engine, Turn(None, tuple(items), Rank(tuple(items)))).state
    engine.run([Turn(state, tuple(items), TopK(10, exclude_seen=True))] * 5)  # four queries and one go different ways
    engine.similar(items[0], 1)
    engine.difference(state, state)


def _one(engine: Engine, turn: Turn) -> Folded:
    (answer,) = engine.run([turn])
    if isinstance(answer, StateDamaged):
        raise answer
    return answer
